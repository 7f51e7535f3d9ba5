/**
 * Every problem the API can answer with (RFC 9457), as one table. The status, the stable `code`, the
 * documentation page and the OpenAPI responses are all made from it; there is no second list.
 */
export interface ProblemKind {
  /** HTTP status code. */
  readonly status: number;
  /** One short sentence that is the same for every occurrence (RFC 9457 §3.1.3). */
  readonly title: string;
  /** What it means and what to do about it, for `docs/problems.md`. */
  readonly doc: string;
}

export const problems = {
  'invalid-request': {
    status: 400,
    title: 'The request is not valid',
    doc: 'A part of the request breaks its schema. `errors` lists each place as a JSON pointer with what is wrong there.',
  },
  'malformed-body': {
    status: 400,
    title: 'The body could not be read',
    doc: 'The body is not what its Content-Type promises: broken JSON, a cut multipart body, a missing boundary.',
  },
  'upload-incomplete': {
    status: 400,
    title: 'The upload ended before all its bytes arrived',
    doc: 'The connection delivered fewer bytes than declared. Nothing was stored; send the upload again.',
  },
  'no-file': {
    status: 400,
    title: 'The request carries no file',
    doc: 'A multipart upload needs at least one part with a file name.',
  },
  unauthenticated: {
    status: 401,
    title: 'Authentication is required',
    doc: 'The request carries no credential, or one that is unknown, expired or revoked. Log in again or use another API key.',
  },
  'invalid-credentials': {
    status: 401,
    title: 'E-mail or password is wrong',
    doc: 'The same answer is given for an unknown e-mail and for a wrong password.',
  },
  'second-factor-required': {
    status: 401,
    title: 'The second factor is missing',
    doc: 'E-mail and password are right, and the account asks for a code of its authenticator app as well. Log in again with `code`.',
  },
  forbidden: {
    status: 403,
    title: 'This credential may not do that',
    doc: 'The caller is known and may see the resource, but lacks the permission that the route needs; `detail` names it.',
  },
  'registration-closed': {
    status: 403,
    title: 'Registration is closed',
    doc: 'This installation accepts no new accounts (`MBK_REGISTRATION=closed`). Ask an administrator.',
  },
  'link-expired': {
    status: 403,
    title: 'The link has expired',
    doc: 'The signature is right but its time has passed. Fetch the file’s metadata again for a fresh link.',
  },
  'not-found': {
    status: 404,
    title: 'Not found',
    doc: 'There is no such thing, or the caller may not know of it: both look the same on purpose.',
  },
  'unknown-variant': {
    status: 404,
    title: 'The project has no such variant',
    doc: 'The name is neither among the project’s variants nor stored for this file.',
  },
  'variant-not-ready': {
    status: 404,
    title: 'The variant is not ready yet',
    doc: 'It is being made. `Retry-After` says when to ask again; `?wait=` holds the request instead.',
  },
  'variant-failed': {
    status: 404,
    title: 'The variant could not be made',
    doc: 'Processing failed for good; `detail` says why. The original stays available.',
  },
  'method-not-allowed': {
    status: 405,
    title: 'The method is not allowed here',
    doc: 'The path exists, the method does not; `Allow` lists those that do.',
  },
  'not-acceptable': {
    status: 406,
    title: 'No representation fits the Accept header',
    doc: 'Accept something that the resource can be sent as.',
  },
  'request-timeout': {
    status: 408,
    title: 'The body arrived too slowly',
    doc: 'No byte for too long, or fewer than the minimum throughput. Send the upload again on a better connection.',
  },
  conflict: {
    status: 409,
    title: 'The request conflicts with the present state',
    doc: '`detail` says with what.',
  },
  'email-taken': {
    status: 409,
    title: 'An account with this e-mail exists',
    doc: 'Log in instead, or use another address.',
  },
  'file-not-ready': {
    status: 409,
    title: 'The file is not ready for that',
    doc: 'The file is still being received or verified.',
  },
  'offset-mismatch': {
    status: 409,
    title: 'The upload goes on at another offset',
    doc: 'A resumable upload has another number of bytes than `Upload-Offset` says; the answer’s own `Upload-Offset` tells how many. Ask with HEAD and go on from there.',
  },
  'upload-gone': {
    status: 410,
    title: 'The upload is gone',
    doc: 'It was refused, terminated, or nothing arrived for too long; `detail` says which. Begin a new one.',
  },
  'precondition-failed': {
    status: 412,
    title: 'A precondition failed',
    doc: 'The resource changed since it was read (`If-Match`). Read it again.',
  },
  'unsupported-tus-version': {
    status: 412,
    title: 'This version of the tus protocol is not spoken here',
    doc: '`Tus-Version` lists those that are. Every request but OPTIONS names one in `Tus-Resumable`.',
  },
  'body-too-large': {
    status: 413,
    title: 'The body is too large',
    doc: 'The request body passes the limit of this route; `limit` and `actual` are in bytes.',
  },
  'file-too-large': {
    status: 413,
    title: 'The file is too large',
    doc: 'The file passes the project’s or the server’s upload limit; `limit` is in bytes.',
  },
  'quota-exceeded': {
    status: 413,
    title: 'The project’s quota does not allow it',
    doc: 'Stored and reserved bytes (or files) plus this upload pass the project’s quota; `limit` and `actual` say by how much.',
  },
  'too-many-files': {
    status: 413,
    title: 'Too many files in one request',
    doc: 'Send fewer files at once; `limit` says how many.',
  },
  'uri-too-long': {
    status: 414,
    title: 'The URL is too long',
    doc: 'Shorten the query or the path.',
  },
  'unsupported-media-type': {
    status: 415,
    title: 'The content type is not supported here',
    doc: 'The route reads another type of body; its description in OpenAPI names it.',
  },
  'type-not-allowed': {
    status: 415,
    title: 'Files of this type are not allowed',
    doc: 'The type detected from the bytes is not in the project’s `settings.allowedTypes`.',
  },
  'range-not-satisfiable': {
    status: 416,
    title: 'The range lies outside the file',
    doc: '`Content-Range` tells the file’s size.',
  },
  'digest-mismatch': {
    status: 422,
    title: 'The bytes are not those that were promised',
    doc: 'What arrived has another digest than `Content-Digest` or `?sha256=` says; `errors` names which. Nothing was stored; send the upload again.',
  },
  'idempotency-key-reused': {
    status: 422,
    title: 'The idempotency key belongs to another upload',
    doc: 'An earlier request with this `Idempotency-Key` brought other bytes or names. Use a new key for every upload.',
  },
  'import-refused': {
    status: 422,
    title: 'The URL is not one that may be imported from',
    doc: 'Only http and https on the allowed ports, without a user name or password, from hosts whose addresses are all public (`MBK_IMPORT_PORTS`, `MBK_IMPORT_ALLOW`); the same of every redirect, and none from https to http. Answered at once, or the `failure` of an import.',
  },
  'invalid-settings': {
    status: 422,
    title: 'The settings are not valid',
    doc: '`errors` lists each place as a JSON pointer with what is wrong there.',
  },
  'too-many-pixels': {
    status: 422,
    title: 'The picture has too many pixels',
    doc: 'Width × height × frames, read from the header, pass the limit. Nothing was decoded or stored.',
  },
  'preview-failed': {
    status: 422,
    title: 'The preview could not be made',
    doc: '`detail` says why: the file is no picture that is decoded here, or the recipe cannot be followed with it.',
  },
  'weak-password': {
    status: 422,
    title: 'The password is too weak',
    doc: '`detail` says what is missing.',
  },
  'upload-locked': {
    status: 423,
    title: 'Another request is sending bytes of this upload',
    doc: 'It was asked to let go and has not yet. Try again after `Retry-After`.',
  },
  'too-many-requests': {
    status: 429,
    title: 'Too many requests',
    doc: 'Wait as long as `Retry-After` says.',
  },
  'header-fields-too-large': {
    status: 431,
    title: 'The header fields are too large',
    doc: 'Send fewer or shorter header fields.',
  },
  'checksum-mismatch': {
    status: 460,
    title: 'The bytes are not those that were promised',
    doc: 'The request’s bytes have another digest than `Upload-Checksum` says (tus 1.0.0, checksum extension). They were thrown away; send them again from the same offset.',
  },
  'internal-error': {
    status: 500,
    title: 'Something went wrong here',
    doc: 'A fault of the server. The request id finds the one log line that tells everything.',
  },
  'import-failed': {
    status: 502,
    title: 'The source did not deliver the file',
    doc: 'The `failure` of an import; `detail` says whether the source could not be reached, answered with another status than 200, or did not send the whole file in time. What may pass has been tried several times.',
  },
  'blob-unavailable': {
    status: 502,
    title: 'The stored bytes are not available',
    doc: 'The file is known but its bytes are missing or cut in the store. It is logged and counted; nothing wrong was sent.',
  },
  'service-unavailable': {
    status: 503,
    title: 'The service is not available',
    doc: 'The database or the store cannot be reached, or the server is stopping. Try again after `Retry-After`.',
  },
  overloaded: {
    status: 503,
    title: 'Too much work at once',
    doc: 'A bounded queue is full. Try again after `Retry-After`.',
  },
  'storage-full': {
    status: 507,
    title: 'The store is full',
    doc: 'The disk or bucket takes no more bytes. Nothing of the upload was kept.',
  },
} as const satisfies Record<string, ProblemKind>;

/** The stable name of a problem: `code` in the body, last part of its `type` URI. */
export type ProblemCode = keyof typeof problems;

/** One place of the request that is wrong. */
export interface FieldError {
  /** JSON pointer (RFC 6901) into the body, or `#/query/name`, `#/params/name`, `#/headers/name`. */
  readonly pointer: string;
  readonly detail: string;
}

export interface ProblemMembers {
  /** What happened this time, as a sentence for a person; never holds secrets or other tenants' data. */
  readonly detail?: string;
  readonly errors?: readonly FieldError[];
  /** For limits: the number that may not be passed, and the number that was met. */
  readonly limit?: number;
  readonly actual?: number;
  /** Seconds; becomes the `Retry-After` header. */
  readonly retryAfter?: number;
  /** Further response headers, such as `Allow` or `WWW-Authenticate`. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly cause?: unknown;
}

/**
 * A refusal that the caller is told about. Anything thrown that is not a Problem is a fault of ours
 * and answers 500 with nothing but the request id.
 */
export class Problem extends Error {
  override readonly name = 'Problem';
  readonly code: ProblemCode;
  readonly members: ProblemMembers;

  constructor(code: ProblemCode, members: ProblemMembers = {}) {
    super(members.detail ?? problems[code].title, { cause: members.cause });
    this.code = code;
    this.members = members;
  }

  get status(): number {
    return problems[this.code].status;
  }
}
