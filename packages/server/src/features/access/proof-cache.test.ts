import { expect, it } from 'vitest';

import { createProofCache } from './proof-cache.js';

function cacheOf(answers: (() => Promise<{ n: number } | undefined>)[]) {
  let now = 1_000_000;
  let asked = 0;
  const cache = createProofCache({
    clock: { now: () => now },
    find: async () => answers[asked++]?.(),
  });
  return { cache, asked: () => asked, pass: (ms: number) => (now += ms) };
}

it('asks once for requests that come at once, and again after less than a second', async () => {
  const { cache, asked, pass } = cacheOf([async () => ({ n: 1 }), async () => ({ n: 2 })]);
  expect(await Promise.all([cache.get('a'), cache.get('a'), cache.get('a')])).toEqual([
    { n: 1 },
    { n: 1 },
    { n: 1 },
  ]);
  pass(800);
  expect(await cache.get('a')).toEqual({ n: 1 });
  expect(asked()).toBe(1);
  pass(200);
  expect(await cache.get('a')).toEqual({ n: 2 });
});

it('does not keep that something proves nothing', async () => {
  const { cache } = cacheOf([async () => undefined, async () => ({ n: 1 })]);
  expect(await cache.get('a')).toBeUndefined();
  expect(await cache.get('a')).toEqual({ n: 1 });
});

it('does not keep the answer of a look-up that was under way when it was forgotten', async () => {
  let answer: (found: { n: number }) => void = () => undefined;
  const slow = new Promise<{ n: number }>((resolve) => {
    answer = resolve;
  });
  const { cache } = cacheOf([() => slow, async () => undefined]);
  const first = cache.get('a');
  cache.forget('a');
  const second = cache.get('a');
  answer({ n: 1 });
  expect(await first).toEqual({ n: 1 });
  expect(await second).toBeUndefined();
  expect(await cache.get('a')).toBeUndefined();
});

it('passes a failed look-up on and asks again', async () => {
  const { cache } = cacheOf([() => Promise.reject(new Error('connection lost')), async () => ({ n: 1 })]);
  await expect(cache.get('a')).rejects.toThrow('connection lost');
  expect(await cache.get('a')).toEqual({ n: 1 });
});
