import { Problem } from '../../../foundation/problems.js';

/** The one version of the protocol there is (https://tus.io/protocols/resumable-upload, 1.0.0). */
export const tusVersion = '1.0.0';
export const tusExtensions =
  'creation,creation-with-upload,creation-defer-length,termination,checksum,expiration';
/** Names of the checksum extension, and what Node.js calls them. */
const algorithms = new Map([
  ['sha1', 'sha1'],
  ['sha256', 'sha256'],
  ['sha512', 'sha512'],
  ['md5', 'md5'],
]);
export const tusChecksumAlgorithms = [...algorithms.keys()].join(',');
/** Media type of every body that carries a part of a file. */
export const offsetType = 'application/offset+octet-stream';

export type Fields = Readonly<Record<string, string | string[] | undefined>>;

/** What a creation says. */
export interface Creation {
  /** Bytes; null when the client tells later (`Upload-Defer-Length`). */
  readonly size: number | null;
  readonly metadata: UploadMetadata;
}

/** @throws Problem `unsupported-tus-version` for a request of another version of the protocol, or of none. */
export function checkVersion(fields: Fields): void {
  if (fields['tus-resumable'] === tusVersion) return;
  throw new Problem('unsupported-tus-version', {
    detail: `This server speaks tus ${tusVersion}; say so in Tus-Resumable.`,
    headers: { 'tus-version': tusVersion },
  });
}

/** @throws Problem `unsupported-media-type`. */
export function checkOffsetType(fields: Fields): void {
  const type = fields['content-type'];
  if (typeof type === 'string' && type.split(';', 1)[0]?.trim().toLowerCase() === offsetType) return;
  throw new Problem('unsupported-media-type', { detail: `Send ${offsetType}.` });
}

/** @throws Problem `invalid-request`. */
export function readCreation(fields: Fields): Creation {
  const deferred = fields['upload-defer-length'];
  const size = readAmount(fields, 'upload-length');
  if (deferred !== undefined && deferred !== '1') throw wrong('upload-defer-length', 'is 1 or absent');
  if ((size === undefined) === (deferred === undefined)) {
    throw wrong('upload-length', 'is needed, or Upload-Defer-Length instead, not both');
  }
  if (fields['upload-concat'] !== undefined) {
    throw wrong('upload-concat', 'is an extension that this server does not have');
  }
  return { size: size ?? null, metadata: readMetadata(fields) };
}

/** @throws Problem `invalid-request` without an offset. */
export function readOffset(fields: Fields): number {
  const offset = readAmount(fields, 'upload-offset');
  if (offset === undefined) throw wrong('upload-offset', 'is needed');
  return offset;
}

/** The length that a deferred one turns out to be; undefined when the request does not say. */
export function readLength(fields: Fields): number | undefined {
  return readAmount(fields, 'upload-length');
}

/** The digest that a request's bytes must have. */
export interface Checksum {
  /** As Node.js calls it. */
  readonly algorithm: string;
  readonly digest: Buffer;
}

/** @throws Problem `invalid-request` for an algorithm that is not in `Tus-Checksum-Algorithm`. */
export function readChecksum(fields: Fields): Checksum | undefined {
  const given = fields['upload-checksum'];
  if (given === undefined) return undefined;
  const [, name = '', base64 = ''] = /^([a-z0-9-]+) ([A-Za-z0-9+/]+={0,2})$/.exec(given.toString()) ?? [];
  const algorithm = algorithms.get(name);
  if (algorithm === undefined) {
    throw wrong(
      'upload-checksum',
      `is an algorithm (${tusChecksumAlgorithms}), a space and a digest in Base64`,
    );
  }
  return { algorithm, digest: Buffer.from(base64, 'base64') };
}

export interface UploadMetadata {
  /** As it came, for HEAD. */
  readonly text: string | null;
  readonly filename: string | undefined;
  /** As the client claims; never believed. */
  readonly declaredType: string | undefined;
  /** SHA-256 that the file must have. */
  readonly sha256: Buffer | undefined;
  /** What is left: the file's own metadata. */
  readonly others: Readonly<Record<string, string>>;
}

/** Longest field that is read; HTTP's own limit is 16 KiB for all. */
const longestMetadata = 8192;
/** Names that Uppy and tus-js-client send, and what no file needs to keep. */
const known = new Set(['filename', 'name', 'filetype', 'type', 'sha256', 'relativePath']);

/**
 * Reads `Upload-Metadata`: pairs of a key and a value in Base64, separated by commas. The name comes from `filename`
 * or `name`, the claimed type from `filetype` or `type`; a `sha256` in hexadecimal is verified.
 * @throws Problem `invalid-request`.
 */
function readMetadata(fields: Fields): UploadMetadata {
  const field = fields['upload-metadata'];
  const text = field?.toString() ?? '';
  if (text.length > longestMetadata)
    throw wrong('upload-metadata', `has more than ${longestMetadata} characters`);
  const pairs = new Map<string, string>();
  for (const pair of text === '' ? [] : text.split(',')) {
    const [, key = '', base64 = ''] =
      /^ *([\x21-\x2b\x2d-\x7e]+)(?: ([A-Za-z0-9+/]*={0,2}))? *$/.exec(pair) ?? [];
    if (key === '') throw wrong('upload-metadata', 'is a list of keys and values in Base64');
    if (pairs.has(key)) throw wrong('upload-metadata', 'has a key twice');
    const value = Buffer.from(base64, 'base64').toString('utf8');
    if (value.includes('\0')) throw wrong('upload-metadata', 'holds a NUL');
    pairs.set(key, value);
  }
  const sha256 = pairs.get('sha256');
  if (sha256 !== undefined && !/^[0-9a-fA-F]{64}$/.test(sha256)) {
    throw wrong('upload-metadata', 'has a sha256 that is not 64 hexadecimal digits');
  }
  return {
    text: field === undefined ? null : text,
    filename: pairs.get('filename') ?? pairs.get('name'),
    declaredType: pairs.get('filetype') ?? pairs.get('type'),
    sha256: sha256 === undefined ? undefined : Buffer.from(sha256, 'hex'),
    others: Object.fromEntries([...pairs].filter(([key]) => !known.has(key))),
  };
}

/** A whole number of bytes that JavaScript and PostgreSQL can count. */
function readAmount(fields: Fields, name: string): number | undefined {
  const text = fields[name];
  if (text === undefined) return undefined;
  const amount = Number(text);
  if (!/^\d{1,16}$/.test(text.toString()) || !Number.isSafeInteger(amount)) {
    throw wrong(name, 'is a whole number of bytes');
  }
  return amount;
}

function wrong(name: string, detail: string): Problem {
  return new Problem('invalid-request', {
    detail: 'A field of the tus protocol is not right.',
    errors: [{ pointer: `#/headers/${name}`, detail }],
  });
}
