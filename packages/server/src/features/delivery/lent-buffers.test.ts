import { expect, it } from 'vitest';

import { createLentBuffers } from './lent-buffers.js';

it('are lent again only when they have come back, and to one at a time', () => {
  const buffers = createLentBuffers();
  const first = buffers.lend(50_000);
  const second = buffers.lend(50_000);
  expect(first).toHaveLength(50_000);
  expect(second.buffer).not.toBe(first.buffer);
  buffers.giveBack(first);
  buffers.giveBack(first);
  const third = buffers.lend(10);
  expect([third.buffer === first.buffer, third.length]).toEqual([true, 10]);
  expect(buffers.lend(10).buffer).not.toBe(first.buffer);
});

it('take nothing back that they have not lent', () => {
  const buffers = createLentBuffers();
  const foreign = Buffer.from(new ArrayBuffer(64 * 1024));
  buffers.giveBack(foreign);
  buffers.giveBack(Buffer.from('a string in the common pool'));
  expect(buffers.lend(1).buffer).not.toBe(foreign.buffer);
});

it('keep no more than some of them, and none that are large', () => {
  const buffers = createLentBuffers();
  const lent = Array.from({ length: 100 }, () => buffers.lend(65_536));
  for (const one of lent) buffers.giveBack(one);
  const memories = new Set(lent.map(({ buffer }) => buffer));
  const again = Array.from({ length: 100 }, () => buffers.lend(1));
  expect(again.filter(({ buffer }) => memories.has(buffer))).toHaveLength(64);
  const large = buffers.lend(300_000);
  buffers.giveBack(large);
  expect(buffers.lend(300_000).buffer).not.toBe(large.buffer);
});
