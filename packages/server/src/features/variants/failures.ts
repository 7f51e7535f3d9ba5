import { BlobError } from '../../foundation/blobs/blob-store.js';
import { ImagingError } from '../../foundation/imaging/imaging.js';

/** Why a variant could not be made: a stable code for programs, a sentence for people. */
export interface Failure {
  readonly code: FailureCode;
  readonly detail: string;
}

const sentences = {
  'unsupported-codec': 'Pictures of this type cannot be decoded here; the original is kept as it is.',
  'corrupt-image': 'The picture is damaged: the decoder refused its bytes.',
  'too-many-pixels': 'The picture has too many pixels to be decoded safely.',
  'decoder-timeout': 'Decoding the picture took too long and was stopped.',
  'decoder-memory': 'Decoding the picture took too much memory and was stopped.',
  'decoder-crashed': 'The decoder crashed on this picture.',
  'original-missing': 'The original could not be read whole from the store.',
  'store-unavailable': 'The store could not be used.',
  'file-deleted': 'The file was deleted before this variant was made.',
  'processing-failed': 'Processing failed again and again; the error of its job says why.',
} as const;

export type FailureCode = keyof typeof sentences;

export function failure(code: FailureCode): Failure {
  return { code, detail: sentences[code] };
}

/** The original is absent in the store, or holds other bytes than its row says. Trying again may help. */
export class OriginalUnavailable extends Error {
  override readonly name = 'OriginalUnavailable';
}

/** What an error of an attempt means for the variants it was to make. */
export function failureOf(error: unknown): Failure {
  if (error instanceof ImagingError && error.code !== 'aborted') return failure(error.code);
  if (error instanceof OriginalUnavailable) return failure('original-missing');
  if (error instanceof BlobError) return failure('store-unavailable');
  return failure('processing-failed');
}
