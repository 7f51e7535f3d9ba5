import { spawn, type ChildProcess } from 'node:child_process';
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../../test/database.js';
import { claimStore } from '../features/cleanup/store-identity.js';
import { openFile, settleFiles } from '../features/files/intake-queries.js';
import { inTransaction, insertProject } from '../features/projects/queries.js';
import { checkSettings } from '../features/projects/settings.js';
import { openDiskStore } from '../foundation/blobs/disk.js';
import { makeBlobFolder, type BlobFolder } from '../foundation/blobs/disk.suite.js';
import { readIdentity, writeIdentity } from '../foundation/blobs/identity.js';
import { originalKey } from '../foundation/blobs/keys.js';
import type { BlobStore } from '../foundation/blobs/blob-store.js';
import { newId } from '../foundation/ids.js';

const main = join(import.meta.dirname, '../../dist/main.js');
const noLimit = { bytes: null, files: null };

interface Ended {
  readonly code: number | null;
  readonly output: string;
}

describe('mediablobkit storage copy', () => {
  let scene: TestDatabase;
  let scratch: string;
  let folders: { from: BlobFolder; to: BlobFolder };
  let source: BlobStore;
  let projectId: string;
  let running: ChildProcess[];
  beforeEach(async () => {
    running = [];
    scene = await createTestDatabase();
    scratch = await mkdtemp(join(tmpdir(), 'mbk-copy-'));
    folders = { from: await makeBlobFolder(), to: await makeBlobFolder() };
    source = await openDiskStore({ folder: folders.from.path });
    projectId = newId();
    const userId = newId();
    const { db } = scene.database;
    const email = `${randomUUID()}@example.test`;
    await db
      .insertInto('users')
      .values({ id: userId, email, email_canonical: email, password_hash: 'none' })
      .execute();
    await inTransaction(db, (tx) =>
      insertProject(tx, { id: projectId, ownerId: userId, name: 'copied', settings: checkSettings({}) }),
    );
    await claimStore({ db, blobs: source });
  });
  afterEach(async () => {
    for (const child of running) if (child.exitCode === null) child.kill('SIGKILL');
    await source.close();
    await scene.close();
    await folders.from.remove();
    await folders.to.remove();
    await rm(scratch, { recursive: true });
  });

  /** A file as an upload leaves it: blob and row. */
  const upload = async (bytes: Buffer): Promise<string> => {
    const id = newId();
    const key = originalKey(projectId, id, 'bin');
    const { db } = scene.database;
    await inTransaction(db, async (tx) => {
      await openFile(
        tx,
        {
          id,
          projectId,
          key,
          filename: 'a.bin',
          mimeType: 'application/octet-stream',
          declaredType: null,
          createdBy: {},
          need: bytes.length,
          want: bytes.length,
        },
        noLimit,
      );
    });
    await source.put(key, bytes);
    const sha256 = createHash('sha256').update(bytes).digest();
    await inTransaction(db, (tx) =>
      settleFiles(tx, projectId, [
        { id, status: 'ready', size: bytes.length, sha256, width: null, height: null },
      ]),
    );
    return key;
  };
  const start = (args: readonly string[], env: Record<string, string> = {}): ChildProcess => {
    const child = spawn(process.execPath, [main, 'storage', 'copy', ...args], {
      cwd: scratch,
      env: {
        PATH: process.env['PATH'],
        DATABASE_URL: scene.url,
        MBK_DATA_FOLDER: join(scratch, 'data'),
        ...env,
      },
    });
    running.push(child);
    return child;
  };
  const ended = async (child: ChildProcess): Promise<Ended> => {
    if (!child.stdout || !child.stderr) throw new Error('the child has no output');
    const [out, error, [code]] = await Promise.all([
      text(child.stdout),
      text(child.stderr),
      once(child, 'close') as Promise<[number | null]>,
    ]);
    return { code, output: out + error };
  };
  const copy = (...more: string[]): Promise<Ended> =>
    ended(start(['--from', `disk:${folders.from.path}`, '--to', `disk:${folders.to.path}`, ...more]));
  const copied = async (): Promise<number> => {
    const names = await readdir(join(folders.to.path, projectId, 'files')).catch(() => []);
    return names.length;
  };
  const uploadMany = async (count: number): Promise<readonly string[]> => {
    const keys: string[] = [];
    for (let n = 0; n < count; n += 1) keys.push(await upload(randomBytes(1_000 + n * 37)));
    return keys;
  };

  it('makes a store that the same database can use, and says how', async () => {
    const keys = await uploadMany(5);
    const first = await copy();
    expect(first).toMatchObject({ code: 0 });
    expect(first.output).toContain('Copied and read back: 5 blobs');
    expect(first.output).toContain('Everything is in the target, verified.');
    expect(first.output).toMatch(/MBK_STORE=disk/);
    const target = await openDiskStore({ folder: folders.to.path });
    for (const key of keys) {
      expect(await readFile(join(folders.to.path, key))).toEqual(
        await readFile(join(folders.from.path, key)),
      );
    }
    expect(await claimStore({ db: scene.database.db, blobs: target })).toBeUndefined();
    await target.close();
    const again = await copy();
    expect(again).toMatchObject({ code: 0 });
    expect(again.output).toContain('Copied and read back: 0 blobs');
    expect(again.output).not.toContain(scene.url);
  });

  it('goes on after a kill −9, and nothing half was ever under a key', async () => {
    const keys = await uploadMany(150);
    const child = start([
      ...['--from', `disk:${folders.from.path}`, '--to', `disk:${folders.to.path}`],
      ...['--parallel', '1'],
    ]);
    await expect.poll(copied, { timeout: 10_000, interval: 5 }).toBeGreaterThan(10);
    child.kill('SIGKILL');
    await once(child, 'close');
    const there = await copied();
    expect(there).toBeLessThan(keys.length);
    expect(await readIdentity(await openDiskStore({ folder: folders.to.path }))).toBeUndefined();
    const rest = await copy();
    expect(rest).toMatchObject({ code: 0 });
    const [, count] = /Copied and read back: (\d+) blobs/.exec(rest.output) ?? [];
    expect(Number(count)).toBe(keys.length - there);
    for (const key of keys) {
      expect(await readFile(join(folders.to.path, key))).toEqual(
        await readFile(join(folders.from.path, key)),
      );
    }
  });

  it('stops at SIGINT, and goes on where it was', async () => {
    await uploadMany(150);
    const child = start([
      ...['--from', `disk:${folders.from.path}`, '--to', `disk:${folders.to.path}`],
      ...['--parallel', '1'],
    ]);
    const end = ended(child);
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
    await source.delete(lost);
    const bytes = await readFile(join(folders.from.path, flipped));
    bytes[0] = 255 - (bytes[0] ?? 0);
    await writeFile(join(folders.from.path, flipped), bytes);
    // Its row is gone like its blob: nothing is missing.
    await source.delete(deleted);
    await scene.database.db.deleteFrom('files').where('s3_key', '=', deleted).execute();
    const { code, output } = await copy();
    expect(code).toBe(1);
    expect(output).toContain(`missing: ${lost}: `);
    expect(output).toContain(`altered: ${flipped}: `);
    expect(output).not.toContain(deleted);
    expect(output).toContain('Missing or different: 2 blobs');
    expect(await readIdentity(await openDiskStore({ folder: folders.to.path }))).toBeUndefined();
  });

  it('finds a copy that was altered since', async () => {
    const [key = ''] = await uploadMany(2);
    expect(await copy()).toMatchObject({ code: 0 });
    const path = join(folders.to.path, key);
    await writeFile(path, randomBytes((await readFile(path)).length));
    expect((await copy('--reread')).output).toContain('Copied and read back: 1 blobs');
    expect(await readFile(path)).toEqual(await readFile(join(folders.from.path, key)));
  });

  it('copies nothing into the store of another installation', async () => {
    await uploadMany(1);
    const target = await openDiskStore({ folder: folders.to.path });
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
    await writeIdentity(source, newId());
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
    await mkdir(join(scratch, 'data'), { recursive: true });
    const { code, output } = await ended(start(args));
    expect(code).toBe(1);
    expect(output).toContain(why);
    expect(output).not.toContain('topsecret');
    expect(output).not.toContain('    at ');
  });
});
