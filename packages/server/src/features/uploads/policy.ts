import type { DetectedType } from '../../foundation/media-types.js';
import { isDecodable } from '../../foundation/media-types.js';
import { ImagingError, type Imaging, type PictureFacts } from '../../foundation/imaging/imaging.js';
import { Problem } from '../../foundation/problems.js';
import type { UploadRules } from '../keys/upload-rules-queries.js';
import type { ProjectSettings } from '../projects/settings.js';

/** What every way in asks before it takes a file: the one place that knows the rules for type, size and pixels. */
export interface Policy {
  /** Largest file in bytes. */
  readonly maxBytes: number;
  /** @throws Problem `file-too-large` when a file of this size, or of at least it, is too large. */
  checkSize(bytes: number): void;
  /** @throws Problem `type-not-allowed`. */
  checkType(type: DetectedType): void;
  /**
   * Reads a picture's header in a child process.
   * @throws Problem `too-many-pixels`.
   * @returns what the header tells; `more-needed` when the head ends before it does; undefined for what is no
   * picture that can be decoded here, broken ones included: those are stored, and their processing says what is wrong.
   */
  checkPicture(
    type: DetectedType,
    head: { readonly bytes: Buffer; readonly complete: boolean },
    signal: AbortSignal,
  ): Promise<PictureFacts | 'more-needed' | undefined>;
}

export interface PolicyOptions {
  readonly settings: Pick<ProjectSettings, 'allowedTypes' | 'quota'>;
  /** The server's own limit, which a project can only lower. */
  readonly maxBytes: number;
  readonly imaging: Pick<Imaging, 'probe'>;
  /** Of the API key that brings the file; they only narrow what the project takes. */
  readonly key: UploadRules | undefined;
}

export function policyOf({ settings, maxBytes: serverMax, imaging, key }: PolicyOptions): Policy {
  const maxBytes = Math.min(
    serverMax,
    settings.quota.bytesPerUpload ?? Infinity,
    key?.maxFileBytes ?? Infinity,
  );
  return {
    maxBytes,
    checkSize(bytes) {
      if (bytes <= maxBytes) return;
      throw new Problem('file-too-large', {
        detail: `A file may have ${maxBytes} bytes.`,
        limit: maxBytes,
        actual: bytes,
      });
    },
    checkType({ mime }) {
      const lists = [
        ['project takes', settings.allowedTypes],
        ['API key brings', key?.allowedTypes ?? ['*/*']],
      ] as const;
      for (const [who, list] of lists) {
        if (list.some((allowed) => covers(allowed, mime))) continue;
        throw new Problem('type-not-allowed', {
          detail: `The file is ${mime}; the ${who} ${list.slice(0, 20).join(', ')}.`,
        });
      }
    },
    async checkPicture({ mime }, head, signal) {
      if (!isDecodable(mime) || head.bytes.length === 0) return undefined;
      try {
        return await imaging.probe(head, signal);
      } catch (error) {
        if (!(error instanceof ImagingError)) throw error;
        return judge(error, signal);
      }
    },
  };
}

function judge(error: ImagingError, signal: AbortSignal): 'more-needed' | undefined {
  switch (error.code) {
    case 'too-many-pixels':
      throw new Problem('too-many-pixels', {
        detail: error.message,
        ...(error.limit === undefined ? {} : { limit: error.limit }),
        ...(error.actual === undefined ? {} : { actual: error.actual }),
        cause: error,
      });
    case 'header-incomplete':
      return 'more-needed';
    case 'overloaded':
      throw new Problem('overloaded', { retryAfter: 5, cause: error });
    case 'aborted':
      signal.throwIfAborted();
      throw new Problem('service-unavailable', {
        detail: 'The server is stopping.',
        retryAfter: 5,
        cause: error,
      });
    case 'unsupported-codec':
    case 'corrupt-image':
    case 'watermark-unusable':
    case 'decoder-timeout':
    case 'decoder-memory':
    case 'decoder-crashed':
      // The picture's own fault or bad luck of a child: the file is kept, and its processing gives the reason.
      return undefined;
  }
}

/** Whether an entry of the allow-list (`image/png`, `image/*`, or anything) covers a type. */
function covers(allowed: string, mime: string): boolean {
  if (allowed === '*/*' || allowed === mime) return true;
  return allowed.endsWith('/*') && mime.startsWith(allowed.slice(0, -1));
}
