import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  BlobExists,
  Unsupported,
  type BlobStore,
  type StoreCapabilities,
  type UnfinishedMultipart,
} from './blob-store.js';
import { expectSame, inChunks, pattern, type OpenedStore } from './contract.suite.js';
import { copyContract } from './copy.suite.js';
import { partsContract } from './parts.suite.js';
import { signedContract } from './signed.suite.js';

/** What the tests of one ability need of the store that they try. */
export interface Trial {
  store(): BlobStore;
  /** A new key prefix, ending in a slash. */
  place(): string;
  read(key: string): Promise<Buffer>;
  keys(prefix: string): Promise<string[]>;
  unfinished(prefix: string): Promise<UnfinishedMultipart[]>;
  /** Whether the store is declared to lack the ability. */
  lacks(ability: keyof StoreCapabilities): boolean;
  /** Milliseconds that one test may take. */
  readonly timeout: number;
}

export interface AbilitiesOptions {
  readonly timeout?: number;
  /** What the store is known not to have; each must show as a typed refusal. */
  readonly lacks: readonly (keyof StoreCapabilities)[];
}

/** Bodies above this are copied in parts by the stores under test, so that the tests need no 5 GiB. */
export const testCopyLimits = { whole: 6 * 2 ** 20, part: 5 * 2 ** 20 };

/** The second half of what every blob store must do: what `contract.suite.ts` does not try. */
export function blobAbilitiesContract(
  name: string,
  openStore: () => Promise<OpenedStore>,
  { timeout = 10_000, lacks }: AbilitiesOptions,
): void {
  describe(`the abilities of a blob store: ${name}`, { timeout }, () => {
    let opened: OpenedStore;
    let tests = 0;
    beforeAll(async () => {
      opened = await openStore();
    }, timeout);
    afterAll(() => opened.close(), timeout);

    const trial: Trial = {
      store: () => opened.store,
      place: () => `abilities/${(tests += 1)}/`,
      read: async (key) => buffer((await opened.store.get(key)).body),
      keys: async (prefix) => {
        const found: string[] = [];
        for await (const { key } of opened.store.list({ prefix })) found.push(key);
        return found;
      },
      unfinished: async (prefix) => {
        const found: UnfinishedMultipart[] = [];
        for await (const one of opened.store.multipart.list(prefix)) found.push(one);
        return found;
      },
      lacks: (ability) => lacks.includes(ability),
      timeout,
    };

    it('are what it is declared to have, found out once and without a trace', async () => {
      const found = await opened.store.capabilities();
      expect(Object.entries(found).flatMap(([ability, there]) => (there ? [] : [ability]))).toEqual(lacks);
      expect(await opened.store.capabilities()).toEqual(found);
      expect(await trial.keys('.mediablobkit/')).toEqual([]);
      expect(await trial.unfinished('.mediablobkit/')).toEqual([]);
    });

    describe('put if absent', () => {
      conditionalContract(trial);
    });
    describe('a put in parts', () => {
      partsContract(trial);
    });
    describe('copy', () => {
      copyContract(trial);
    });
    describe('signed requests', () => {
      signedContract(trial);
    });
  });
}

function conditionalContract({ store, place, read, keys, lacks }: Trial): void {
  if (lacks('conditionalPut')) {
    it('is refused, and nothing is stored', async () => {
      const at = place();
      const body = Readable.from([Buffer.from('x')]);
      await expect(store().put(`${at}a`, Buffer.from('x'), { ifAbsent: true })).rejects.toBeInstanceOf(
        Unsupported,
      );
      await expect(store().put(`${at}b`, body, { ifAbsent: true })).rejects.toBeInstanceOf(Unsupported);
      expect(body.destroyed).toBe(true);
      expect(await keys(at)).toEqual([]);
    });
    return;
  }

  it('stores the first and refuses every other, whose body is read or destroyed', async () => {
    const key = `${place()}mark`;
    expect(await store().put(key, pattern(1_000), { ifAbsent: true })).toEqual({ size: 1_000 });
    const late = inChunks(Buffer.from('second'), 2);
    await expect(store().put(key, late, { ifAbsent: true })).rejects.toBeInstanceOf(BlobExists);
    expect(late.destroyed).toBe(true);
    await expect(store().put(key, Buffer.from('third'), { ifAbsent: true })).rejects.toBeInstanceOf(
      BlobExists,
    );
    expectSame(await read(key), pattern(1_000));
    await store().delete(key);
    await store().put(key, inChunks(Buffer.from('anew'), 2), { ifAbsent: true, size: 4 });
    expect((await read(key)).toString()).toBe('anew');
  });

  it('of many at once is won by exactly one', async () => {
    const at = place();
    for (let round = 0; round < 5; round++) {
      const key = `${at}${round}`;
      const outcomes = await Promise.allSettled(
        Array.from({ length: 12 }, (_, index) =>
          store().put(key, Buffer.alloc(2_000 + index, index), { ifAbsent: true }),
        ),
      );
      const winners = outcomes.flatMap(({ status }, index) => (status === 'fulfilled' ? [index] : []));
      expect(winners).toHaveLength(1);
      const [winner = 0] = winners;
      expectSame(await read(key), Buffer.alloc(2_000 + winner, winner));
      for (const outcome of outcomes) {
        if (outcome.status === 'rejected') expect(outcome.reason).toBeInstanceOf(BlobExists);
      }
    }
  });

  it('of more than one request is refused where the store takes one only', async () => {
    const key = `${place()}large`;
    const put = store().put(key, inChunks(pattern(9 * 2 ** 20), 65_536), { ifAbsent: true });
    if (store().backend === 'disk') {
      expect(await put).toEqual({ size: 9 * 2 ** 20 });
      return;
    }
    await expect(put).rejects.toBeInstanceOf(Unsupported);
    await expect(
      store().put(key, inChunks(pattern(9 * 2 ** 20), 65_536), { ifAbsent: true, size: 9 * 2 ** 20 }),
    ).rejects.toBeInstanceOf(Unsupported);
    expect(await store().stat(key)).toBeUndefined();
  });
}
