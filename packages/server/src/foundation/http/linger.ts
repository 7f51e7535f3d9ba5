import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';

/** How long the rest of a refused body is read and thrown away after the answer was sent. */
export interface LingerLimits {
  /** Milliseconds without a byte. */
  readonly idleMs: number;
  /** Milliseconds in all. */
  readonly totalMs: number;
}

const standardLimits: LingerLimits = { idleMs: 2_000, totalMs: 10_000 };

/**
 * The answer to a request whose body is still arriving, as a stream that ends later than its last byte: the
 * answer goes out at once, then the rest of the body is thrown away until the client stops or the limits are
 * met. Closing right after the answer would make the kernel reset the connection, and a client that is still
 * sending then sees a broken pipe instead of the answer (nginx calls the cure `lingering_close`).
 *
 * Send it with `Content-Length` and `Connection: close`, so that the client knows the answer is complete.
 */
export function lingeringAnswer(
  request: IncomingMessage,
  answer: Buffer,
  limits: LingerLimits = standardLimits,
): Readable {
  let finish = (): void => undefined;
  let started = false;
  const stream = new Readable({
    read() {
      if (started) return;
      started = true;
      stream.push(answer);
      finish = drain(request, limits, () => stream.push(null));
    },
    destroy(error, callback) {
      finish();
      callback(error);
    },
  });
  return stream;
}

/** Throws the body away until it ends or a limit is met, then calls `done`, once. The returned function stops early. */
function drain(request: IncomingMessage, limits: LingerLimits, done: () => void): () => void {
  let ended = false;
  const end = (): void => {
    if (ended) return;
    ended = true;
    clearTimeout(idle);
    clearTimeout(total);
    request.off('data', onData);
    request.off('end', end);
    request.off('close', end);
    request.pause();
    done();
  };
  const idle = setTimeout(end, limits.idleMs);
  const total = setTimeout(end, limits.totalMs);
  const onData = (): void => {
    idle.refresh();
  };
  request.on('end', end);
  request.on('close', end);
  if (request.readableEnded || request.destroyed) {
    end();
    return end;
  }
  request.on('data', onData);
  // A listener for `data` starts the flow only when nothing has paused the stream before.
  request.resume();
  return end;
}
