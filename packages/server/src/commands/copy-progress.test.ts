import { expect, it } from 'vitest';
import type { CopyTally } from '../foundation/blobs/copy-store.js';
import { progressLine, size } from './copy-progress.js';

const none = { blobs: 0, bytes: 0 };
const megabyte = 1024 * 1024;
const tally = (changes: Partial<CopyTally['outcomes']>, total?: CopyTally['total']): CopyTally => ({
  outcomes: {
    copied: none,
    verified: none,
    known: none,
    vanished: none,
    extra: none,
    failure: none,
    ...changes,
  },
  moved: 0,
  total,
});
const rates = { movedPerSecond: 2 * megabyte, bytesPerSecond: 2 * megabyte, blobsPerSecond: 8 };

it('says how far a copy is, how fast, and how long it takes', () => {
  const copied = { blobs: 1_000, bytes: 100 * megabyte };
  const total = { blobs: 3_000, bytes: 300 * megabyte };
  // 200 MiB and 2,000 blobs at 256 KiB each, 2 MiB and 8 blobs a second.
  expect(progressLine(tally({ copied }, total), rates)).toBe(
    '1,000 of 3,000 blobs · 100.0 MiB of 300.0 MiB · 2.0 MiB/s · 3 min left',
  );
  expect(progressLine(tally({ copied, failure: { blobs: 1, bytes: 5 } }), rates)).toBe(
    '1,001 blobs · 100.0 MiB · 2.0 MiB/s · 1 failure',
  );
  // More than were counted at the beginning, and standing still.
  const still = { movedPerSecond: 0, bytesPerSecond: 0, blobsPerSecond: 0 };
  expect(progressLine(tally({ copied }, { blobs: 10, bytes: 10 }), still)).toBe(
    '1,000 of 1,000 blobs · 100.0 MiB of 100.0 MiB · 0 B/s',
  );
});

it.each([
  [0, '0 B'],
  [999, '999 B'],
  [1_000, '1.0 KiB'],
  [5 * 1024 ** 4, '5.0 TiB'],
])('shows %d bytes as %s', (bytes, text) => {
  expect(size(bytes)).toBe(text);
});
