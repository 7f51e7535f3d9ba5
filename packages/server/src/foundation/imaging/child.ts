/**
 * Entry of a child process: does one task at a time, and dies with its parent. Nothing else of the server is loaded
 * here, and nothing that this process holds is worth stealing.
 */
import sharp from 'sharp';

import { ImagingError } from './imaging.js';
import { svgArgument, type ChildMessage, type Task, type TaskFailure } from './messages.js';
import { perform } from './perform.js';

/** Bytes of buffers, most of them a picture's that is finished, from which freeing them is worth some 5 ms of CPU. */
const muchLeft = 16 * 1024 * 1024;

restrictSharp();
process.on('message', (task: Task) => void answer(task)); // answer() reports every failure itself
process.on('disconnect', () => {
  // The parent is gone, perhaps by kill −9. process.exit would wait for a decode that is under way.
  process.kill(process.pid, 'SIGKILL');
});
say({ kind: 'ready' });

/** One thread, no cache (it would give a reused path's old pixels), and only the loaders that we mean. */
function restrictSharp(): void {
  sharp.concurrency(1);
  sharp.cache(false);
  sharp.block({ operation: ['VipsForeignLoad'] });
  sharp.unblock({
    operation: [
      'VipsForeignLoadJpeg',
      'VipsForeignLoadPng',
      'VipsForeignLoadWebp',
      'VipsForeignLoadHeif',
      'VipsForeignLoadNsgif',
      // Not its sisters: from a buffer librsvg knows no folder, and loads nothing that the drawing refers to.
      ...(process.argv.includes(svgArgument) ? ['VipsForeignLoadSvgBuffer'] : []),
    ],
  });
}

async function answer(task: Task): Promise<void> {
  try {
    say({ kind: 'done', result: await perform(task, (images) => say({ kind: 'quick', images })) });
  } catch (error) {
    say({ kind: 'failed', failure: failureOf(error) });
  }
  freeBuffers();
}

/** V8 goes by its own small heap and would let the buffers of several pictures lie. */
function freeBuffers(): void {
  if (process.memoryUsage().arrayBuffers >= muchLeft) globalThis.gc?.();
}

function failureOf(error: unknown): TaskFailure {
  if (error instanceof ImagingError) {
    return { code: error.code, message: error.message, limit: error.limit, actual: error.actual };
  }
  // Not the picture's fault: a full disk, a missing folder, an encoder that refuses.
  const message = error instanceof Error ? error.message : String(error);
  return { code: 'decoder-crashed', message, limit: undefined, actual: undefined };
}

function say(message: ChildMessage): void {
  process.send?.(message);
}
