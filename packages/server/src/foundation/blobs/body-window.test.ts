import { setImmediate as turn } from 'node:timers/promises';
import { buffer } from 'node:stream/consumers';
import { expect, it } from 'vitest';
import { abortable, bodyOfBuffer } from './body-window.js';

it('tells an abort that comes before the first read to the reader, and to nobody else', async () => {
  const early = abortable(bodyOfBuffer(Buffer.from('bytes')), AbortSignal.abort(new Error('enough')));
  await turn();
  await expect(buffer(early)).rejects.toThrow();

  const abort = new AbortController();
  const body = abortable(bodyOfBuffer(Buffer.from('bytes')), abort.signal);
  abort.abort();
  await turn();
  await expect(buffer(body)).rejects.toThrow();
});
