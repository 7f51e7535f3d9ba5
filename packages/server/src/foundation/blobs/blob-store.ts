import type { Readable } from 'node:stream';

/** What a store knows of one blob. */
export interface BlobStat {
  readonly key: string;
  /** Bytes. */
  readonly size: number;
  readonly lastModified: Date;
}

export interface PutOptions {
  /** Exact length in bytes when it is known. The put fails with `BlobLengthMismatch` when the body differs. */
  readonly size?: number;
  /** Media type kept with the blob where the store can keep one. */
  readonly contentType?: string;
  /**
   * Stores the body only when the key holds nothing: of any number of such puts exactly one succeeds, the others are
   * `BlobExists`. On S3 the body must fit into one request (8 MiB). `Unsupported` where the store has no such thing.
   */
  readonly ifAbsent?: boolean;
  /**
   * Aborts the put, which then rejects with the signal's reason. While the body has not ended, nothing is left
   * under the key; a bucket that already has the last byte may still store it, so the caller deletes the key.
   */
  readonly signal?: AbortSignal;
}

export interface GetOptions {
  /**
   * First and last byte, both inclusive, counted from 0 (as in RFC 9110 §14.1.2). Made from the size in the
   * row: a range that the blob does not fill is `BlobTruncated`, not a shorter answer.
   */
  readonly range?: { readonly start: number; readonly end: number };
  readonly signal?: AbortSignal;
  /** Lends memory of this length for bytes that the store reads at once (`Blob.bytes`); new memory when absent. */
  readonly lend?: (length: number) => Buffer;
}

/** A blob being read; `size` is that of the whole blob, whatever range is asked for. */
export interface Blob extends BlobStat {
  /** Exactly the bytes asked for; errors with `BlobTruncated` when the store delivers fewer. Read it or destroy it. */
  readonly body: Readable;
  /** The same bytes, when the store had to read them at once anyhow; whoever takes them leaves `body` alone. */
  readonly bytes?: Buffer;
}

export interface PresignGetOptions {
  /** Seconds from `signedAt` for which the URL works. */
  readonly expiresIn: number;
  /** Moment the signature counts from; rounding it down makes equal URLs within a window. */
  readonly signedAt: Date;
  readonly contentType?: string;
  readonly contentDisposition?: string;
  readonly cacheControl?: string;
}

export interface CopyOptions {
  /** Length in bytes that the source must have; `BlobLengthMismatch` otherwise, and nothing is copied. */
  readonly size?: number;
  /** Media type of the copy; that of the source when absent. */
  readonly contentType?: string;
  readonly signal?: AbortSignal;
}

/** One part of a blob that is put in parts. */
export interface Part {
  /** 1 to `mostParts`; the order of the bytes. */
  readonly number: number;
  /** Bytes. */
  readonly size: number;
  /** What the store calls its content; given back to `complete` as it came. */
  readonly etag: string;
}

/** A put in parts that nobody has finished yet. */
export interface UnfinishedMultipart {
  readonly key: string;
  readonly uploadId: string;
  readonly begunAt: Date;
}

/**
 * Blobs that arrive in parts, over several requests and by way of several processes. The key holds nothing, or what
 * it held before, until `complete`; parts may come in any order, and one that is put again replaces the first.
 *
 * Errors beside those of `BlobStore`: `MultipartMissing` for an upload that was completed, aborted or never begun;
 * `PartsRefused` when the parts named to `complete` are not those that are there, or one but the last is too small.
 */
export interface MultipartBlobs {
  /** Bytes that every part but the last must have: 5 MiB on S3, 1 on disk. */
  readonly smallestPart: number;
  /** Bytes that `put` takes at most: 64 MiB on S3, where a part stays in memory until it has arrived; 5 GiB on disk. */
  readonly largestPart: number;
  readonly mostParts: number;
  /** Begins and gives the upload's id, which stands for it together with the key. */
  begin(key: string, options?: { readonly contentType?: string }): Promise<string>;
  /**
   * Stores one part, durable. The body is read to its end or destroyed; a part that failed leaves the earlier one.
   * A body that is not as long as declared is `BlobLengthMismatch`, one longer than `largestPart` `PartsRefused`.
   */
  put(
    key: string,
    uploadId: string,
    number: number,
    body: Readable | Buffer,
    options?: { readonly size?: number; readonly signal?: AbortSignal },
  ): Promise<Part>;
  /** The parts that are there, by number. */
  parts(key: string, uploadId: string): Promise<readonly Part[]>;
  /**
   * Makes the parts one blob, durable. All that are there have to be named: some servers refuse otherwise, as the disk
   * store does, others drop the rest. Repeating it after a lost answer succeeds when the blob is there.
   */
  complete(key: string, uploadId: string, parts: readonly Part[]): Promise<{ readonly size: number }>;
  /** Drops the upload with its parts; an absent one is success. */
  abort(key: string, uploadId: string): Promise<void>;
  /** Every unfinished upload whose key starts with the prefix, in no order. */
  list(prefix: string): AsyncIterable<UnfinishedMultipart>;
}

/** What a client may be allowed to do in the store by itself, one request each. */
export type DirectOperation =
  /** `size` and `contentType` are signed when given: another length or type is refused by the store. */
  | {
      readonly kind: 'put';
      readonly key: string;
      readonly size?: number;
      readonly contentType?: string;
      /** Base64 (RFC 1864); signed when given. */
      readonly contentMd5?: string;
    }
  /** A form (POST policy) whose file has between `minBytes` and `maxBytes`. */
  | {
      readonly kind: 'post';
      readonly key: string;
      readonly minBytes: number;
      readonly maxBytes: number;
      readonly contentType?: string;
    }
  | { readonly kind: 'begin-multipart'; readonly key: string; readonly contentType?: string }
  | {
      readonly kind: 'put-part';
      readonly key: string;
      readonly uploadId: string;
      readonly number: number;
      readonly size?: number;
    }
  | {
      readonly kind: 'list-parts' | 'complete-multipart' | 'abort-multipart';
      readonly key: string;
      readonly uploadId: string;
    };

export interface SignOptions {
  /** Seconds from `signedAt` for which the request works; 7 days, and the life of temporary credentials, at most. */
  readonly expiresIn: number;
  readonly signedAt: Date;
}

/** A request that whoever has it may send to the store. */
export interface SignedRequest {
  readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE';
  readonly url: string;
  /** Header fields that are signed and must be sent as they are; a browser sets `content-length` by itself. */
  readonly headers: Readonly<Record<string, string>>;
  /** Fields of a form, to be sent before the file. */
  readonly fields?: Readonly<Record<string, string>>;
}

/** What not every store can do. */
export interface StoreCapabilities {
  /** `put` with `ifAbsent`. */
  readonly conditionalPut: boolean;
  /** `multipart`. */
  readonly multipart: boolean;
  /**
   * A part that arrives after its upload was completed is refused. Swift takes it, and the blob changes or breaks; what
   * must not be changed there is copied under a key of its own, which is a blob by itself.
   */
  readonly sealedMultipart: boolean;
  /** URLs that a plain HTTP client can use: `presignGet`, and `signDirect` of all but forms. */
  readonly signedUrls: boolean;
  /** Forms (`post`) whose limits the store enforces. */
  readonly signedForms: boolean;
}

/**
 * Where bytes are kept. Every implementation passes the one contract suite (`contract.suite.ts`): a key is either
 * absent or holds one whole put, also after kill −9; keys are opaque, made by `keys.ts`, and never reused.
 * No key may be a folder of another (`a` and `a/b`): the disk store cannot hold both.
 *
 * Errors: `BlobMissing` for a key that is not there (get and copy only), `BlobLengthMismatch`, `BlobTruncated`,
 * `StoreFull`, `StoreUnavailable` (everything transient), `InvalidKey`. An error of the body that is being put
 * comes out as it is.
 */
export interface BlobStore {
  /** `disk` or `s3`, for logs and metrics. */
  readonly backend: 'disk' | 's3';
  /**
   * Stores the whole body under the key, replacing what was there; resolves once it is durable. The body is read
   * to its end or destroyed: never pass a request itself, whose socket still has to carry the answer.
   */
  put(key: string, body: Readable | Buffer, options?: PutOptions): Promise<{ readonly size: number }>;
  get(key: string, options?: GetOptions): Promise<Blob>;
  /** Undefined when there is no such blob. */
  stat(key: string): Promise<BlobStat | undefined>;
  /** Removes the blob; an absent one is success. */
  delete(key: string): Promise<void>;
  /** Removes any number of blobs; resolves with the keys that could not be removed and why. */
  deleteMany(keys: readonly string[]): Promise<readonly { readonly key: string; readonly reason: string }[]>;
  /** All blobs whose key starts with `prefix`, ordered by UTF-8 bytes of the key, after `after` when given. */
  list(options: { readonly prefix: string; readonly after?: string }): AsyncIterable<BlobStat>;
  readonly multipart: MultipartBlobs;
  /**
   * Copies a blob inside the store, without its bytes passing through this process, and replaces what was under the
   * second key; resolves once the copy is durable. `BlobMissing` when there is nothing to copy.
   */
  copy(from: string, to: string, options?: CopyOptions): Promise<{ readonly size: number }>;
  /** A URL that lets anybody fetch the blob for a while, or undefined when the store has no such thing (disk). */
  presignGet(key: string, options: PresignGetOptions): Promise<string | undefined>;
  /**
   * A request by which a client moves its bytes to the store itself, undefined when the store has no such thing (disk).
   * `Unsupported` when it has no forms and one is wanted.
   */
  signDirect(operation: DirectOperation, options: SignOptions): Promise<SignedRequest | undefined>;
  /**
   * Finds out what the store can do by trying it under random keys, once; the answer is remembered. Rejects with
   * `StoreUnavailable` after 10 s at the latest when the store does not answer, and is asked anew the next time.
   */
  capabilities(): Promise<StoreCapabilities>;
  /**
   * Removes what interrupted puts left outside any key and nobody writes to any more: temporary files of dead
   * processes, and unfinished puts in parts begun more than `olderThanMs` ago unless `keep` says that somebody still
   * needs them. Resolves with how many.
   */
  removeStaleTemporaries(
    olderThanMs: number,
    keep?: (unfinished: UnfinishedMultipart) => boolean | Promise<boolean>,
  ): Promise<number>;
  /**
   * Writes, reads and deletes a blob under a random key. Rejects with `StoreUnavailable` or `StoreFull`, whose
   * message is a sentence for a person, after 10 s at the latest; cheap enough for a readiness probe.
   */
  check(): Promise<void>;
  close(): Promise<void>;
}

/** Base of what a store throws on purpose; `key` is for logs and never leaves the API. */
export class BlobError extends Error {
  readonly key: string;
  constructor(message: string, key: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.key = key;
  }
}
/** There is no blob under this key. */
export class BlobMissing extends BlobError {}
/** The body of a put was longer or shorter than its declared size; nothing was stored. */
export class BlobLengthMismatch extends BlobError {}
/** The store delivered fewer bytes than the blob has. */
export class BlobTruncated extends BlobError {}
/** No space is left in the store. */
export class StoreFull extends BlobError {}
/** The store refuses, hangs or cannot be reached; trying again later may help. */
export class StoreUnavailable extends BlobError {}
/** There is a blob under the key of a put that must not replace one. */
export class BlobExists extends BlobError {}
/** No such put in parts is under way. */
export class MultipartMissing extends BlobError {}
/** The parts cannot be made one blob as they were named. */
export class PartsRefused extends BlobError {}
/** The store has no such ability; the message names it. */
export class Unsupported extends BlobError {}
/** The key is not one that `keys.ts` makes: empty, absolute, with `..`, a NUL or a backslash, or too long. */
export class InvalidKey extends BlobError {}
