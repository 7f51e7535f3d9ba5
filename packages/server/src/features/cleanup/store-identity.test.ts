import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { cleanupOptions } from '../../../test/cleanup-options.js';
import { createTestDatabase, type TestDatabase } from '../../../test/database.js';
import { StoreUnavailable, Unsupported, type BlobStore } from '../../foundation/blobs/blob-store.js';
import { openDiskStore } from '../../foundation/blobs/disk.js';
import { identityKey, readIdentity, writeIdentity } from '../../foundation/blobs/identity.js';
import { originalKey } from '../../foundation/blobs/keys.js';
import type { Db } from '../../foundation/database/connect.js';
import { newId } from '../../foundation/ids.js';
import { createLog } from '../../foundation/log.js';
import { bury } from '../files/queries.js';
import { inTransaction } from '../projects/queries.js';
import { createCleanup } from './cleanup.js';
import { adoptStore, claimStore, storeFault } from './store-identity.js';

let test: TestDatabase;
let db: Db;
let folder: string;
let blobs: BlobStore;

beforeEach(async () => {
  test = await createTestDatabase();
  ({ db } = test.database);
  folder = await mkdtemp(join(tmpdir(), 'mbk-identity-'));
  blobs = await openDiskStore({ folder: join(folder, 'blobs') });
});
afterEach(async () => {
  await blobs.close();
  await test.close();
  await rm(folder, { recursive: true, force: true });
});

const installation = () => db.selectFrom('installation').selectAll().executeTakeFirstOrThrow();

/** Stores a blob that no row names and buries its key. */
async function buried(): Promise<string> {
  const key = originalKey(newId(), newId(), 'bin');
  await blobs.put(key, Buffer.from('x'));
  await inTransaction(db, (tx) => bury(tx, [{ key, projectId: newId(), reason: 'test' }]));
  return key;
}

/** Runs a cleanup job once; resolves with what it logged. */
async function run(kind: string, store: BlobStore = blobs): Promise<readonly Record<string, unknown>[]> {
  const lines: Record<string, unknown>[] = [];
  const log = await createLog({
    level: 'info',
    pretty: false,
    destination: { write: (line: string) => void lines.push(JSON.parse(line) as Record<string, unknown>) },
  });
  const { handlers } = createCleanup({
    db,
    blobs: store,
    log,
    ...cleanupOptions,
  });
  const handler = handlers.find((one) => one.kind.name === kind);
  if (!handler) throw new TypeError(`no handler for ${kind}`);
  await handler.run({
    id: newId(),
    payload: {},
    projectId: null,
    attempt: 1,
    lastAttempt: false,
    signal: new AbortController().signal,
    log,
    finish: (work) => inTransaction(db, work),
  });
  return lines;
}

/** The store, whose first reads of the mark all happen before any of them is answered. */
function meeting(real: BlobStore, readers: number): BlobStore {
  let missing = readers;
  let open = (): void => undefined;
  const all = new Promise<void>((resolve) => (open = resolve));
  return {
    ...real,
    get: async (key, options) => {
      const answer = real.get(key, options);
      answer.catch(() => undefined);
      if ((missing -= 1) <= 0) {
        await answer.catch(() => undefined);
        open();
      }
      await all;
      return answer;
    },
  };
}

describe('the first start', () => {
  it('marks the store, and the second finds it marked', async () => {
    expect(await claimStore({ db, blobs })).toBeUndefined();
    const { id, marked_at } = await installation();
    expect(await readIdentity(blobs)).toBe(id);
    expect(marked_at).not.toBeNull();
    const written = await blobs.stat(identityKey);
    expect(await claimStore({ db, blobs })).toBeUndefined();
    expect(await blobs.stat(identityKey)).toEqual(written);
    expect(await installation()).toEqual({ only_row: true, id, marked_at, deletions_paused_at: null });
  });

  it('of several processes at once ends in one id', async () => {
    const faults = await Promise.all(Array.from({ length: 5 }, () => claimStore({ db, blobs })));
    expect(faults).toEqual(Array.from({ length: 5 }, () => undefined));
    expect(await readIdentity(blobs)).toBe((await installation()).id);
  });

  it('that was cut off after the mark was written is made good by the next', async () => {
    await claimStore({ db, blobs });
    await db.updateTable('installation').set({ marked_at: null }).execute();
    expect(await claimStore({ db, blobs })).toBeUndefined();
    expect((await installation()).marked_at).not.toBeNull();
  });

  it('leaves a store alone that is somebody else’s', async () => {
    const other = newId();
    await writeIdentity(blobs, other);
    expect(await claimStore({ db, blobs })).toContain(`the mark of another installation (${other})`);
    expect(await readIdentity(blobs)).toBe(other);
    expect((await installation()).marked_at).toBeNull();
  });

  it.each([
    ['a store that can put if absent', (real: BlobStore): BlobStore => real],
    [
      'one that cannot',
      (real: BlobStore): BlobStore => ({
        ...real,
        put: (key, body, options) =>
          options?.ifAbsent
            ? Promise.reject(new Unsupported('no put if absent', key))
            : real.put(key, body, options),
      }),
    ],
  ])('of two databases at the same instant gives the store to one of them: %s', async (_what, made) => {
    const other = await createTestDatabase();
    try {
      const both = meeting(made(blobs), 2);
      const faults = await Promise.all([
        claimStore({ db, blobs: both }),
        claimStore({ db: other.database.db, blobs: both }),
      ]);
      expect(faults.filter((fault) => fault === undefined)).toHaveLength(1);
      const marked = await Promise.all(
        [db, other.database.db].map((one) =>
          one.selectFrom('installation').selectAll().executeTakeFirstOrThrow(),
        ),
      );
      expect(marked.map(({ marked_at }) => marked_at === null)).toEqual(
        faults.map((fault) => fault !== undefined),
      );
    } finally {
      await other.close();
    }
  });

  it('fails when the store does not answer, instead of marking it', async () => {
    let puts = 0;
    const deaf: BlobStore = {
      ...blobs,
      get: (key) => Promise.reject(new StoreUnavailable('no answer', key)),
      put: (...put) => {
        puts++;
        return blobs.put(...put);
      },
    };
    await expect(claimStore({ db, blobs: deaf })).rejects.toThrow(StoreUnavailable);
    expect(puts).toBe(0);
  });
});

describe('a store that is not this database’s', () => {
  const marks: readonly [string, () => Promise<unknown>][] = [
    ['bears another mark', () => writeIdentity(blobs, newId())],
    ['bears no mark any more', () => blobs.delete(identityKey)],
    ['bears a mark that is no JSON', () => blobs.put(identityKey, Buffer.from('{"installation":'))],
    ['bears a mark without an id', () => blobs.put(identityKey, Buffer.from('null'))],
    ['bears a mark of any length', () => blobs.put(identityKey, Buffer.alloc(100_000, 32))],
  ];

  it.each(marks)('is left as it is when it %s, until it is adopted', async (_what, change) => {
    await claimStore({ db, blobs });
    const key = await buried();
    await change();

    const lines = await run('purge-blobs');
    expect(lines).toMatchObject([
      { level: 'error', msg: expect.stringContaining('storage adopt') as unknown },
    ]);
    expect(await blobs.stat(key)).toBeDefined();
    // Its turn was not used up: it is due at once when the store is right again.
    expect(await db.selectFrom('tombstones').select('attempts').execute()).toEqual([{ attempts: 0 }]);
    // A start does not heal it either.
    expect(await claimStore({ db, blobs })).toContain('storage adopt');

    const { id } = await adoptStore({ db, blobs });
    expect(await readIdentity(blobs)).toBe(id);
    expect(await storeFault({ db, blobs })).toBeUndefined();
    await run('purge-blobs');
    expect(await blobs.stat(key)).toBeUndefined();
    expect(await db.selectFrom('tombstones').select('key').execute()).toEqual([]);
  });

  it('keeps its unfinished puts too', async () => {
    await claimStore({ db, blobs });
    let asked = 0;
    const counting: BlobStore = { ...blobs, removeStaleTemporaries: () => Promise.resolve(++asked) };
    await run('remove-temporaries', counting);
    expect(asked).toBe(1);
    await writeIdentity(blobs, newId());
    await run('remove-temporaries', counting);
    expect(asked).toBe(1);
  });
});

it('adopting tells whose the store was, and is no harm twice', async () => {
  const other = newId();
  await writeIdentity(blobs, other);
  const { id, before } = await adoptStore({ db, blobs });
  expect(before).toBe(other);
  expect(await adoptStore({ db, blobs })).toEqual({ id, before: id });
  expect(await claimStore({ db, blobs })).toBeUndefined();
});

it('a probe and the removal of old probes leave the mark', async () => {
  await claimStore({ db, blobs });
  await blobs.check();
  await blobs.removeStaleTemporaries(0);
  expect(await storeFault({ db, blobs })).toBeUndefined();
  expect(await blobs.stat(identityKey)).toBeDefined();
});
