import { BlobError } from '../../foundation/blobs/blob-store.js';
import { ImagingError, type ImagingErrorCode } from '../../foundation/imaging/imaging.js';

/** Why a variant could not be made: a stable code for programs, a sentence for people. */
export interface Failure {
  readonly code: FailureCode;
  readonly detail: string;
}

/** Codes that are not the decoder's own, which brings its sentences along. */
const sentences = {
  'unsupported-codec': 'Files of this type cannot be decoded here; the original is kept as it is.',
  'no-ffmpeg':
    'The worker had no ffmpeg, without which no picture is taken of a video; the original is kept.',
  'original-missing': 'The original could not be read whole from the store.',
  'store-unavailable': 'The store could not be used.',
  'file-deleted': 'The file was deleted before this variant was made.',
  'processing-failed': 'Processing failed again and again; the error of its job says why.',
} as const;

export type FailureCode = keyof typeof sentences | Exclude<ImagingErrorCode, 'aborted'>;

export function failure(code: keyof typeof sentences): Failure {
  return { code, detail: sentences[code] };
}

/** Failures that say what cannot be done here, and nothing against the file: it is ready all the same. */
const harmless: ReadonlySet<string> = new Set<FailureCode>(['unsupported-codec', 'no-ffmpeg']);

/** True when a file is ready although a variant failed for this reason. */
export function isHarmless(code: string | null): boolean {
  return code !== null && harmless.has(code);
}

/** The original is absent in the store, or holds other bytes than its row says. Trying again may help. */
export class OriginalUnavailable extends Error {
  override readonly name = 'OriginalUnavailable';
}

/** The worker has no ffmpeg, and the file is a video. Another worker may have it, but jobs cannot choose their worker. */
export class FfmpegMissing extends Error {
  override readonly name = 'FfmpegMissing';
}

/** True for an error that every attempt meets again. */
export function isPermanent(error: unknown): boolean {
  return error instanceof FfmpegMissing || (error instanceof ImagingError && error.permanent);
}

/** What an error of an attempt means for the variants it was to make. */
export function failureOf(error: unknown): Failure {
  if (error instanceof ImagingError && error.code !== 'aborted') {
    return { code: error.code, detail: error.message };
  }
  if (error instanceof FfmpegMissing) return failure('no-ffmpeg');
  if (error instanceof OriginalUnavailable) return failure('original-missing');
  if (error instanceof BlobError) return failure('store-unavailable');
  return failure('processing-failed');
}

/** A recipe that the engine could not follow, in its own words. */
export function recipeFailure(code: ImagingErrorCode, detail: string): Failure {
  return code === 'aborted' ? failure('processing-failed') : { code, detail };
}
