import type { IncomingMessage } from 'node:http';

import { framingAfter, type Part } from '../../foundation/http/multipart.js';
import { Problem } from '../../foundation/problems.js';
import type { IncomingFile } from './receive.js';
import { problemOf } from './upload-problems.js';

/** Fields beside the files are read and ignored (forms and Uppy send some), within these bounds. */
const maxFields = 100;
const maxFieldBytes = 64 * 1024;

/**
 * Hands every part that is a file to `receive`, and reads past the other fields.
 * @param expected most bytes a part can have, as far as the request tells.
 * @throws Problem `no-file` without a file; a problem of one part names it.
 */
export async function receiveParts<Received>(
  receive: (file: IncomingFile) => Promise<Received>,
  parts: AsyncGenerator<Part, void, undefined>,
  { maxFiles }: { readonly maxFiles: number },
  expected: (part: Part) => number | undefined,
): Promise<readonly Received[]> {
  const received: Received[] = [];
  let fields = 0;
  for await (const part of parts) {
    try {
      if (part.filename === undefined) {
        if (++fields > maxFields) {
          throw new Problem('invalid-request', { detail: `A form may have ${maxFields} fields.` });
        }
        await ignoreField(part);
        continue;
      }
      if (received.length === maxFiles) {
        throw new Problem('too-many-files', {
          detail: `A request may carry ${maxFiles} files.`,
          limit: maxFiles,
        });
      }
      const body = part.filename === '' ? await unlessEmpty(part.body) : part.body;
      // A browser sends an empty, nameless file for a file field that nobody has filled.
      if (body === undefined) continue;
      received.push(
        await receive({
          filename: part.filename,
          declaredType: part.contentType,
          body,
          expectedBytes: expected(part),
        }),
      );
    } catch (error) {
      throw naming(problemOf(error), part.index);
    }
  }
  if (received.length === 0) throw new Problem('no-file', { detail: 'No part of the body has a file name.' });
  return received;
}

async function ignoreField(part: Part): Promise<void> {
  let length = 0;
  for await (const chunk of part.body) {
    length += chunk.length;
    if (length > maxFieldBytes) {
      throw new Problem('body-too-large', {
        detail: `A form field may have ${maxFieldBytes} bytes.`,
        limit: maxFieldBytes,
      });
    }
  }
}

/** The body again, or undefined when it has no bytes. */
export async function unlessEmpty(
  body: AsyncIterableIterator<Buffer, void, undefined>,
): Promise<AsyncIterableIterator<Buffer, void, undefined> | undefined> {
  const first = await body.next();
  if (first.done === true) return undefined;
  return (async function* () {
    yield first.value;
    yield* body;
  })();
}

/**
 * Bytes that a part's content has if nothing follows but the closing boundary: exact for the last part, too many
 * for the others, which give back what they did not need. Undefined without Content-Length.
 */
export function expectedBytes(request: IncomingMessage, part: Part, boundary: string): number | undefined {
  const length = request.headers['content-length'];
  if (length === undefined) return undefined;
  return Math.max(0, Number(length) - part.offset - framingAfter(boundary));
}

/** Says which part of the body the problem is about. */
function naming(error: unknown, index: number): unknown {
  if (!(error instanceof Problem)) return error;
  return new Problem(error.code, {
    ...error.members,
    errors: error.members.errors ?? [{ pointer: `#/parts/${index}`, detail: error.message }],
    cause: error.members.cause ?? error,
  });
}
