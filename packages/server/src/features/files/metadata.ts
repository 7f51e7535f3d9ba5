import { Problem } from '../../foundation/problems.js';

/** Most bytes of a file's own metadata as JSON. */
const maxMetadataBytes = 16 * 1024;

/**
 * Checks the metadata that a client keeps with a file: any JSON object that PostgreSQL can store.
 * @throws Problem `invalid-request`, `body-too-large`.
 */
export function checkMetadata(metadata: Readonly<Record<string, unknown>>): void {
  const text = JSON.stringify(metadata);
  const length = Buffer.byteLength(text);
  if (length > maxMetadataBytes) {
    throw new Problem('body-too-large', {
      detail: `The metadata of a file may have ${maxMetadataBytes} bytes as JSON.`,
      limit: maxMetadataBytes,
      actual: length,
    });
  }
  // jsonb takes neither NUL nor lone surrogates; JSON.stringify writes both as escapes. An escaped backslash is
  // stepped over, so that the text "\\u0000" of six characters stays allowed.
  if (/(?<!\\)(?:\\\\)*\\u(?:0000|d[89a-f])/.test(text)) {
    throw new Problem('invalid-request', {
      detail: 'The metadata holds a NUL or half of a surrogate pair.',
      errors: [{ pointer: '/metadata', detail: 'holds a NUL or half of a surrogate pair' }],
    });
  }
}
