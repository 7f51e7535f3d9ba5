import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createCopyScene, type CopyScene, type Ended } from '../../test/copy-scene.js';
import { claimStore } from '../features/cleanup/store-identity.js';
import { openDiskStore } from '../foundation/blobs/disk.js';
import { readIdentity, writeIdentity } from '../foundation/blobs/identity.js';
import { newId } from '../foundation/ids.js';

describe('mediablobkit storage copy', () => {
  let scene: CopyScene;
  beforeEach(async () => {
    scene = await createCopyScene();
  });
  afterEach(() => scene.close());

  const route = (): readonly string[] => [
    'copy',
    ...['--from', `disk:${scene.from.path}`],
    ...['--to', `disk:${scene.to.path}`],
  ];
  const copy = (...more: string[]): Promise<Ended> => scene.ended(scene.start([...route(), ...more]));
  const copied = async (): Promise<number> => {
    const names = await readdir(join(scene.to.path, scene.projectId, 'files')).catch(() => []);
    return names.length;
  };
  const uploadMany = async (count: number): Promise<readonly string[]> => {
    const keys: string[] = [];
    for (let n = 0; n < count; n += 1) keys.push(await scene.upload(randomBytes(1_000 + n * 37)));
    return keys;
  };

  it('makes a store that the same database can use, and says how', async () => {
    const keys = await uploadMany(5);
    const first = await copy();
    expect(first).toMatchObject({ code: 0 });
    expect(first.output).toContain('Copied and read back: 5 blobs');
    expect(first.output).toContain('Everything is in the target, verified.');
    expect(first.output).toMatch(/MBK_STORE=disk/);
    const target = await openDiskStore({ folder: scene.to.path });
    for (const key of keys) {
      expect(await readFile(join(scene.to.path, key))).toEqual(await readFile(join(scene.from.path, key)));
    }
    expect(await claimStore({ db: scene.db, blobs: target })).toBeUndefined();
    await target.close();
    const again = await copy();
    expect(again).toMatchObject({ code: 0 });
    expect(again.output).toContain('Copied and read back: 0 blobs');
    expect(again.output).not.toContain(scene.databaseUrl);
  });

  it('goes on after a kill −9, and nothing half was ever under a key', async () => {
    const keys = await uploadMany(150);
    const child = scene.start([...route(), '--parallel', '1']);
    await expect.poll(copied, { timeout: 10_000, interval: 5 }).toBeGreaterThan(10);
    child.kill('SIGKILL');
    await once(child, 'close');
    const there = await copied();
    expect(there).toBeLessThan(keys.length);
    expect(await readIdentity(await openDiskStore({ folder: scene.to.path }))).toBeUndefined();
    const rest = await copy();
    expect(rest).toMatchObject({ code: 0 });
    const [, count] = /Copied and read back: (\d+) blobs/.exec(rest.output) ?? [];
    expect(Number(count)).toBe(keys.length - there);
    for (const key of keys) {
      expect(await readFile(join(scene.to.path, key))).toEqual(await readFile(join(scene.from.path, key)));
    }
  });

  it('stops at SIGINT, and goes on where it was', async () => {
    await uploadMany(150);
    const child = scene.start([...route(), '--parallel', '1']);
    const end = scene.ended(child);
    await expect.poll(copied, { timeout: 10_000, interval: 5 }).toBeGreaterThan(10);
    child.kill('SIGINT');
    const { code, output } = await end;
    expect(code).toBe(130);
    expect(output).toContain('Interrupted. The same command continues.');
    expect(await copied()).toBeLessThan(150);
    expect(await copy()).toMatchObject({ code: 0 });
    expect(await copied()).toBe(150);
  });

  it('names what is missing and what was altered, and does not mark the target', async () => {
    const [lost = '', flipped = '', deleted = ''] = await uploadMany(4);
    await scene.source.delete(lost);
    const bytes = await readFile(join(scene.from.path, flipped));
    bytes[0] = 255 - (bytes[0] ?? 0);
    await writeFile(join(scene.from.path, flipped), bytes);
    // Its row is gone like its blob: nothing is missing.
    await scene.source.delete(deleted);
    await scene.db.deleteFrom('files').where('s3_key', '=', deleted).execute();
    const { code, output } = await copy();
    expect(code).toBe(1);
    expect(output).toContain(`missing: ${lost}: `);
    expect(output).toContain(`altered: ${flipped}: `);
    expect(output).not.toContain(deleted);
    expect(output).toContain('Missing or different: 2 blobs');
    expect(await readIdentity(await openDiskStore({ folder: scene.to.path }))).toBeUndefined();
  });

  it('finds a copy that was altered since', async () => {
    const [key = ''] = await uploadMany(2);
    expect(await copy()).toMatchObject({ code: 0 });
    const path = join(scene.to.path, key);
    await writeFile(path, randomBytes((await readFile(path)).length));
    expect((await copy('--reread')).output).toContain('Copied and read back: 1 blobs');
    expect(await readFile(path)).toEqual(await readFile(join(scene.from.path, key)));
  });

  it('copies nothing into the store of another installation', async () => {
    await uploadMany(1);
    const target = await openDiskStore({ folder: scene.to.path });
    const other = newId();
    await writeIdentity(target, other);
    const { code, output } = await copy();
    expect(code).toBe(1);
    expect(output).toContain(`The target bears the mark of installation ${other}`);
    expect(await copied()).toBe(0);
    await target.close();
  });

  it('takes rows only from the database whose store the source is', async () => {
    await uploadMany(2);
    await writeIdentity(scene.source, newId());
    const refused = await copy();
    expect(refused).toMatchObject({ code: 1 });
    expect(refused.output).toContain('--without-database');
    const { code, output } = await copy('--without-database');
    expect(code).toBe(0);
    expect(output).toContain('Copied and read back: 2 blobs');
    expect(output).toContain('compared by reading both sides');
  });

  it.each([
    [['--from', 'disk:nowhere', '--to', 'disk:there'], '--from names a folder that is not there'],
    [['--from', 'disk:data', '--to', 'disk:./data/'], 'name the same store'],
    [['--from', 's3://key:topsecret@bucket', '--to', 'current'], '--from must hold no credentials'],
    [['--from', 'current', '--to', 'disk:x', '--parallel', '0'], 'a whole number from 1 to 64'],
    [['--from', 'current'], "required option '--to <store>'"],
  ])('refuses %j', async (args, why) => {
    await mkdir(join(scene.scratch, 'data'), { recursive: true });
    const { code, output } = await scene.ended(scene.start(['copy', ...args]));
    expect(code).toBe(1);
    expect(output).toContain(why);
    expect(output).not.toContain('topsecret');
    expect(output).not.toContain('    at ');
  });
});
