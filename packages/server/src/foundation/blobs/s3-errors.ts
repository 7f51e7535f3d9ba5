import { BlobError, StoreFull, StoreUnavailable } from './blob-store.js';

/** HTTP status of the store's refusal, undefined when no answer came. */
export function statusOf(error: unknown): number | undefined {
  if (!(error instanceof Error) || !('$metadata' in error)) return undefined;
  const metadata = error.$metadata;
  if (typeof metadata !== 'object' || metadata === null || !('httpStatusCode' in metadata)) return undefined;
  return typeof metadata.httpStatusCode === 'number' ? metadata.httpStatusCode : undefined;
}

/** How often the SDK asked before it gave up. */
export function attemptsOf(error: unknown): number {
  if (!(error instanceof Error) || !('$metadata' in error)) return 1;
  const metadata = error.$metadata;
  if (typeof metadata !== 'object' || metadata === null || !('attempts' in metadata)) return 1;
  return typeof metadata.attempts === 'number' ? metadata.attempts : 1;
}

export function isStatus(error: unknown, status: number): boolean {
  return statusOf(error) === status;
}

/** True when the store understood and will not; what may pass by itself is no refusal. */
export function isRefusal(error: unknown): boolean {
  const status = statusOf(error);
  return status !== undefined && isRefusalStatus(status);
}

export function isRefusalStatus(status: number): boolean {
  return status === 501 || (status >= 400 && status < 500 && status !== 408 && status !== 429);
}

/** True when the store knows no such multipart upload; a bucket that is not there has none, but for another reason. */
export function isNoUpload(error: unknown): boolean {
  return isStatus(error, 404) && !(error instanceof Error && error.name === 'NoSuchBucket');
}

/** Codes by which S3 servers refuse to make the named parts one object. */
const partCodes: Readonly<Record<string, string>> = {
  InvalidPart: 'a part is not there as it was named',
  InvalidPartOrder: 'the parts are not in the order of their numbers',
  EntityTooSmall: 'a part but the last is too small',
};

/** Why the store would not join the parts, undefined when that is not what the error says. */
export function refusedParts(error: unknown): string | undefined {
  return error instanceof Error ? partCodes[error.name] : undefined;
}

/** Codes by which S3 servers say that they take no more bytes; AWS itself never does. */
const fullCodes = new Set([
  'QuotaExceeded',
  'XMinioStorageFull',
  'InsufficientStorage',
  'StorageFull',
  'DiskFull',
]);
/** Refusals that only a person can end, with what that person should look at. */
const explanations: Readonly<Record<string, string>> = {
  NoSuchBucket: 'the bucket does not exist',
  AccessDenied: 'the credentials may not do this in the bucket',
  Forbidden: 'the credentials may not do this in the bucket',
  InvalidAccessKeyId: 'the access key is unknown to the store',
  SignatureDoesNotMatch: 'the secret key is wrong',
  RequestTimeTooSkewed: 'the clocks of this machine and the store differ too much',
  PermanentRedirect: 'the bucket lies in another region',
  AuthorizationHeaderMalformed: 'the bucket lies in another region',
  CredentialsProviderError: 'no credentials were found',
};

/** What a failed request means to the caller. The message names no key and no credential. */
export function s3Error(error: unknown, key: string): BlobError {
  if (error instanceof BlobError) return error;
  const status = statusOf(error);
  const name = error instanceof Error ? error.name : 'Error';
  if (status === 507 || fullCodes.has(name)) {
    return new StoreFull(`the bucket takes no more bytes (${name})`, key, { cause: error });
  }
  const what = explanations[name] ?? messageOf(error);
  const where = status === undefined ? name : `${name}, HTTP ${status}`;
  return new StoreUnavailable(`the object store cannot be used: ${what} (${where})`, key, { cause: error });
}

/** A refused connection to a name with several addresses has no message, only a code. */
function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.message !== '') return error.message;
  return 'code' in error && typeof error.code === 'string' ? error.code : error.name;
}
