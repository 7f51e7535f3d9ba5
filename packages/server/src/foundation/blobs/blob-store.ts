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
  /** Aborts the put; nothing is left under the key. */
  readonly signal?: AbortSignal;
}

export interface GetOptions {
  /** First and last byte, both inclusive, counted from 0 (as in RFC 9110 §14.1.2). */
  readonly range?: { readonly start: number; readonly end: number };
  readonly signal?: AbortSignal;
}

export interface Blob extends BlobStat {
  /** Exactly the bytes asked for; errors with `BlobTruncated` when the store delivers fewer. Read it or destroy it. */
  readonly body: Readable;
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

/**
 * Where bytes are kept. Every implementation passes the one contract suite (`contract.ts`): a key is either
 * absent or holds one whole put, also after kill −9; keys are opaque, made by `keys.ts`, and never reused.
 *
 * Errors: `BlobMissing` for a key that is not there (get only), `BlobLengthMismatch`, `BlobTruncated`,
 * `StoreFull`, `StoreUnavailable` (everything transient), `InvalidKey`.
 */
export interface BlobStore {
  /** `disk` or `s3`, for logs and metrics. */
  readonly backend: 'disk' | 's3';
  /** Stores the whole body under the key, replacing what was there; resolves once it is durable. */
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
  /** A URL that lets anybody fetch the blob for a while, or undefined when the store has no such thing (disk). */
  presignGet(key: string, options: PresignGetOptions): Promise<string | undefined>;
  /** Fails with a sentence for a person when the store cannot be used; cheap enough for a readiness probe. */
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
/** The key is not one that `keys.ts` makes: empty, absolute, with `..`, a NUL or a backslash, or too long. */
export class InvalidKey extends BlobError {}
