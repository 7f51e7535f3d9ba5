import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { createSweepScene, type SweepScene } from '../../../../test/sweep-scene.js';
import { StoreUnavailable, type BlobStore } from '../../../foundation/blobs/blob-store.js';
import { identityKey, writeIdentity } from '../../../foundation/blobs/identity.js';
import { newId } from '../../../foundation/ids.js';
import { adoptStore } from '../store-identity.js';
import { brake } from './brake.js';
import { lastSweep, SweepLost, takeSweep } from './state-queries.js';
import { remainingOf } from './sweep.js';

let scene: SweepScene;
beforeEach(async () => {
  scene = await createSweepScene();
});
afterEach(() => scene.close());

async function strays(count: number): Promise<readonly string[]> {
  const keys: string[] = [];
  for (let n = 0; n < count; n += 1) keys.push(await scene.blob(scene.strayKey()));
  return keys.sort();
}

describe('the brake', () => {
  const sweep = { blobs_seen: 1_000, rows_seen: 1_000, orphans: 0, missing: 0, project_id: null };

  it('holds when more than the share and more than a hundred would go', () => {
    expect(brake({ ...sweep, orphans: 100 }, 10)).toBeUndefined();
    expect(brake({ ...sweep, orphans: 101 }, 10)).toMatch(/^101 of 1000 blobs have no row, more than 10 %/);
    expect(brake({ ...sweep, orphans: 101 }, 11)).toBeUndefined();
    expect(brake({ ...sweep, blobs_seen: 200, orphans: 100 }, 10)).toBeUndefined();
    expect(brake({ ...sweep, orphans: 1_000 }, 100)).toBeUndefined();
  });

  it('holds in the other direction too', () => {
    expect(brake({ ...sweep, missing: 101 }, 10)).toMatch(/^101 of 1000 rows have no blob/);
  });

  it('holds when the database names nothing, save for one project', () => {
    expect(brake({ ...sweep, rows_seen: 0, orphans: 1 }, 100)).toMatch(/^The database names no blob at all/);
    expect(brake({ ...sweep, rows_seen: 0, orphans: 1, project_id: newId() }, 100)).toBeUndefined();
  });

  it('saves a full bucket from an empty database, and says so in a dry run too', async () => {
    const keys = await strays(3);
    for (const mode of ['dry-run', 'report', 'delete'] as const) {
      const sweep = await scene.swept(mode);
      expect(sweep).toMatchObject({
        orphans: 3,
        quarantined: 0,
        refusal: expect.stringContaining('no blob'),
      });
      expect(remainingOf(sweep)).toBe(3);
    }
    expect(await scene.keys(`${scene.projectId}/`)).toEqual(keys);
  });

  it('marks nothing and renders nothing when a store has lost too much', async () => {
    for (let n = 0; n < 101; n += 1) await scene.blobs.delete((await scene.file()).key);
    expect(await scene.swept('delete')).toMatchObject({ missing: 101, refusal: expect.any(String) });
    expect(scene.damages).toEqual([]);
  });
});

it('moves no more than its cap, and the next sweep goes on', async () => {
  await scene.file();
  await strays(5);
  expect(await scene.swept('delete', { maxDeletes: 2 })).toMatchObject({ orphans: 5, quarantined: 2 });
  expect(await scene.swept('delete', { maxDeletes: 2 })).toMatchObject({ orphans: 3, quarantined: 2 });
});

describe('whose store it is', () => {
  it.each(['dry-run', 'report', 'delete'] as const)(
    'is asked before a %s: another’s is not judged',
    async (mode) => {
      await scene.file();
      const [key] = await strays(1);
      await writeIdentity(scene.blobs, newId());
      expect(await scene.sweep(mode)).toMatchObject({
        kind: 'refused',
        why: expect.stringContaining('another installation'),
      });
      expect(await scene.blobs.stat(key!)).toBeDefined();
      await adoptStore({ db: scene.db, blobs: scene.blobs });
      expect(await scene.swept(mode)).toMatchObject({ orphans: 1 });
    },
  );

  it('is nobody’s without a mark', async () => {
    await scene.blobs.delete(identityKey);
    expect(await scene.sweep('delete')).toMatchObject({ kind: 'refused' });
    await scene.db.deleteFrom('installation').execute();
    expect(await scene.sweep('delete')).toMatchObject({
      kind: 'refused',
      why: expect.stringContaining('never been started'),
    });
  });

  it('is asked again after the scan', async () => {
    await scene.file();
    const [key] = await strays(1);
    const blobs = scene.faulty({
      async *list(options) {
        yield* scene.blobs.list(options);
        await writeIdentity(scene.blobs, newId());
      },
    });
    expect(await scene.sweep('delete', { blobs })).toMatchObject({ kind: 'refused' });
    expect(await scene.blobs.stat(key!)).toBeDefined();
  });
});

describe('a sweep that is broken off', () => {
  /** A store that is away once the listing has come so far. */
  const failingAfter = (keys: number, asked: (string | undefined)[] = []): BlobStore =>
    scene.faulty({
      async *list(options) {
        asked.push(options.after);
        let listed = 0;
        for await (const blob of scene.blobs.list(options)) {
          if (listed++ === keys) throw new StoreUnavailable('away', '');
          yield blob;
        }
      },
    });

  it('is continued behind the last key that was judged, by whoever comes next', async () => {
    await scene.file();
    const keys = await strays(20);
    const options = { batchKeys: 4 };
    await expect(scene.sweep('delete', { ...options, blobs: failingAfter(10) })).rejects.toThrow('away');
    const [open] = await scene.db.selectFrom('sweeps').selectAll().execute();
    expect(open).toMatchObject({ status: 'scanning', finished_at: null });
    expect(open?.position).not.toBe('');
    expect(await scene.blobs.stat(keys[0]!)).toBeDefined();

    const asked: (string | undefined)[] = [];
    const sweep = await scene.swept('delete', { ...options, blobs: failingAfter(1_000, asked) });
    expect(asked).toEqual([open?.position]);
    expect(sweep).toMatchObject({ id: open?.id, blobs_seen: 21, rows_seen: 1, orphans: 20, quarantined: 20 });
    expect((await scene.findings(sweep, 'orphan')).map(({ key }) => key)).toEqual(keys);
  });

  it('is continued in the middle of its moves, and none is counted twice', async () => {
    await scene.file();
    await strays(20);
    const stop = new AbortController();
    let moves = 0;
    const blobs = scene.faulty({
      async copy(from, to, copying) {
        if (++moves === 5) stop.abort(new Error('killed'));
        return scene.blobs.copy(from, to, copying);
      },
    });
    await expect(scene.sweep('delete', { blobs, signal: stop.signal })).rejects.toThrow('killed');
    const sweep = await scene.swept('delete');
    expect(sweep).toMatchObject({ orphans: 20, quarantined: 20, failures: 0 });
    expect(await scene.keys('.quarantine/')).toHaveLength(20);
  });

  it('is abandoned when another kind is wanted', async () => {
    await scene.file();
    await strays(20);
    await expect(scene.sweep('delete', { batchKeys: 4, blobs: failingAfter(10) })).rejects.toThrow('away');
    const sweep = await scene.swept('report');
    expect(sweep).toMatchObject({ orphans: 20, quarantined: 0 });
    const ended = await scene.db.selectFrom('sweeps').select('status').orderBy('id').execute();
    expect(ended.map(({ status }) => status)).toEqual(['abandoned', 'finished']);
  });

  it('belongs to its holder for the time of the lease, who gets it back at once', async () => {
    const wish = { mode: 'report', projectId: null, leaseSeconds: 30 } as const;
    const holder = newId();
    const first = await takeSweep(scene.db, { ...wish, holder });
    expect(await scene.sweep('report')).toEqual({ kind: 'held', until: expect.any(Date) });
    const second = await takeSweep(scene.db, { ...wish, holder });
    if ('heldUntil' in first || 'heldUntil' in second) throw new Error('it is held by its holder');
    expect(second.id).toBe(first.id);
    expect(second.token).not.toBe(first.token);
  });

  it('is lost by a process that was taken for dead, which then does nothing more', async () => {
    await scene.file();
    const [key] = await strays(1);
    const holder = newId();
    const blobs = scene.faulty({
      async *list(options) {
        yield* scene.blobs.list(options);
        await takeSweep(scene.db, { mode: 'delete', projectId: null, holder, leaseSeconds: 30 });
      },
    });
    await expect(scene.sweep('delete', { blobs, holder })).rejects.toThrow(SweepLost);
    expect(await scene.blobs.stat(key!)).toBeDefined();
  });
});

it('keeps the findings of the last sweep only', async () => {
  await scene.file();
  await strays(2);
  const [first, second] = [await scene.swept('report'), await scene.swept('report')];
  expect(await scene.findings(first)).toEqual([]);
  expect(await scene.findings(second)).toHaveLength(2);
  // One of a project takes nothing from that of the whole store.
  const part = await scene.swept('report', { projectId: scene.projectId });
  expect([await scene.findings(second), await scene.findings(part)]).toMatchObject([
    { length: 2 },
    { length: 2 },
  ]);
  expect(await lastSweep(scene.db)).toMatchObject({ id: second.id });
});
