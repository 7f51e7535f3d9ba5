import { spawn, type ChildProcess } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';

import { claimStore } from '../src/features/cleanup/store-identity.js';
import { openFile, settleFiles } from '../src/features/files/intake-queries.js';
import { inTransaction, insertProject } from '../src/features/projects/queries.js';
import { checkSettings } from '../src/features/projects/settings.js';
import type { BlobStore } from '../src/foundation/blobs/blob-store.js';
import { openDiskStore } from '../src/foundation/blobs/disk.js';
import { makeBlobFolder, type BlobFolder } from '../src/foundation/blobs/disk.suite.js';
import { originalKey } from '../src/foundation/blobs/keys.js';
import type { Db } from '../src/foundation/database/connect.js';
import { newId } from '../src/foundation/ids.js';
import { createTestDatabase } from './database.js';

const main = join(import.meta.dirname, '../dist/main.js');
const noLimit = { bytes: null, files: null };

/** How a command of the built program ended. */
export interface Ended {
  readonly code: number | null;
  /** Standard output, then standard error. */
  readonly output: string;
}

/** An installation with files in a disk store, and a second folder to copy into. */
export interface CopyScene {
  readonly db: Db;
  readonly databaseUrl: string;
  readonly projectId: string;
  readonly source: BlobStore;
  /** `disk:` addresses are `from.path` and `to.path`. */
  readonly from: BlobFolder;
  readonly to: BlobFolder;
  /** Folder that the command runs in; its data folder is `data` inside. */
  readonly scratch: string;
  /** A file as an upload leaves it, blob and row; gives the key. */
  upload(bytes: Buffer): Promise<string>;
  /** Starts `mediablobkit storage …`. */
  start(args: readonly string[], env?: Readonly<Record<string, string>>): ChildProcess;
  ended(child: ChildProcess): Promise<Ended>;
  close(): Promise<void>;
}

export async function createCopyScene(): Promise<CopyScene> {
  const database = await createTestDatabase();
  const { db } = database.database;
  const scratch = await mkdtemp(join(tmpdir(), 'mbk-copy-'));
  const [from, to] = [await makeBlobFolder(), await makeBlobFolder()];
  const source = await openDiskStore({ folder: from.path });
  const projectId = await insertScene(db);
  await claimStore({ db, blobs: source });
  const running: ChildProcess[] = [];
  return {
    db,
    databaseUrl: database.url,
    projectId,
    source,
    from,
    to,
    scratch,
    async upload(bytes) {
      const id = newId();
      const key = originalKey(projectId, id, 'bin');
      await inTransaction(db, (tx) =>
        openFile(
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
        ),
      );
      await source.put(key, bytes);
      const sha256 = createHash('sha256').update(bytes).digest();
      await inTransaction(db, (tx) =>
        settleFiles(tx, projectId, [
          { id, status: 'ready', size: bytes.length, sha256, width: null, height: null },
        ]),
      );
      return key;
    },
    start(args, env = {}) {
      const child = spawn(process.execPath, [main, 'storage', ...args], {
        cwd: scratch,
        env: {
          PATH: process.env['PATH'],
          DATABASE_URL: database.url,
          MBK_DATA_FOLDER: join(scratch, 'data'),
          ...env,
        },
      });
      running.push(child);
      return child;
    },
    async ended(child) {
      if (!child.stdout || !child.stderr) throw new Error('the child has no output');
      const [out, error, [code]] = await Promise.all([
        text(child.stdout),
        text(child.stderr),
        once(child, 'close') as Promise<[number | null]>,
      ]);
      return { code, output: out + error };
    },
    async close() {
      for (const child of running) {
        if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
      }
      await source.close();
      await database.close();
      await from.remove();
      await to.remove();
      await rm(scratch, { recursive: true });
    },
  };
}

/** A person with a project; gives the project's id. */
async function insertScene(db: Db): Promise<string> {
  const [userId, projectId] = [newId(), newId()];
  const email = `${randomUUID()}@example.test`;
  await db
    .insertInto('users')
    .values({ id: userId, email, email_canonical: email, password_hash: 'none' })
    .execute();
  await inTransaction(db, (tx) =>
    insertProject(tx, { id: projectId, ownerId: userId, name: 'copied', settings: checkSettings({}) }),
  );
  return projectId;
}
