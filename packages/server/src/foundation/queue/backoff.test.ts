import { expect, test } from 'vitest';

import { backoffSeconds, standardBackoff } from './backoff.js';

test('the bound grows with each attempt up to its limit, and the wait lies anywhere below it', () => {
  const bounds = [1, 2, 3, 4, 20].map((attempt) => backoffSeconds(attempt, standardBackoff, 1));
  expect(bounds).toEqual([5, 15, 45, 135, 3600]);
  expect(backoffSeconds(3, standardBackoff, 0)).toBe(0);
  expect(backoffSeconds(3, standardBackoff, 0.5)).toBe(22.5);
});
