import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { bodyBatches } from './body-batches.js';

const kibibyte = 1024;

describe('a body in batches', () => {
  it('comes in equal batches when they have to be exact', async () => {
    const body = Readable.from([10, 25, 1, 30].map((length) => Buffer.alloc(length, length)));
    const lengths: number[] = [];
    for await (const batch of bodyBatches(body, 'key', { batchBytes: 16, exact: true })) {
      lengths.push(Buffer.concat(batch).length);
    }
    expect(lengths).toEqual([16, 16, 16, 16, 2]);
  });

  it('keeps its chunks whole otherwise', async () => {
    const body = Readable.from([10, 25, 1, 30].map((length) => Buffer.alloc(length, length)));
    const chunks: number[][] = [];
    for await (const batch of bodyBatches(body, 'key', { batchBytes: 30, exact: false })) {
      chunks.push(batch.map(({ length }) => length));
    }
    expect(chunks).toEqual([
      [10, 25],
      [1, 30],
    ]);
  });

  it('is read no further than the batch that was asked for', async () => {
    let made = 0;
    const body = new Readable({
      highWaterMark: 64 * kibibyte,
      read() {
        made += 64 * kibibyte;
        this.push(Buffer.alloc(64 * kibibyte));
      },
    });
    const batches = bodyBatches(body, 'key', { batchBytes: 1024 * kibibyte, exact: true });
    for (let batch = 1; batch <= 20; batch++) {
      await batches.next();
      // Beyond the batches the source holds what its own buffer allows: two chunks here.
      expect(made).toBeLessThanOrEqual((batch * 1024 + 2 * 64) * kibibyte);
    }
    await batches.return();
    expect(body.destroyed).toBe(true);
  });

  it('takes text and plain byte arrays, and refuses anything else', async () => {
    const body = Readable.from(['é', new Uint8Array([1, 2])], { objectMode: true });
    const { value: batch } = await bodyBatches(body, 'key', { batchBytes: 99, exact: true }).next();
    expect(Buffer.concat(batch ?? [])).toEqual(Buffer.from([0xc3, 0xa9, 1, 2]));
    const numbers = bodyBatches(Readable.from([1]), 'key', { batchBytes: 99, exact: true });
    await expect(numbers.next()).rejects.toBeInstanceOf(TypeError);
  });
});
