import { randomUUID } from 'node:crypto';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import type { Caller } from '../src/features/access/caller.js';
import { guardRoutes } from '../src/features/access/guard.js';
import { createCleanup } from '../src/features/cleanup/cleanup.js';
import type { PresentFiles } from '../src/features/files/present.js';
import { fileRoutes } from '../src/features/files/routes.js';
import { createKeys } from '../src/features/keys/keys.js';
import { keyHash, keyPrefix, newKey } from '../src/features/keys/key-text.js';
import { insertKey, type KeyRules } from '../src/features/keys/queries.js';
import { inTransaction, insertProject } from '../src/features/projects/queries.js';
import { checkSettings } from '../src/features/projects/settings.js';
import type { UploadLimits } from '../src/features/uploads/intake.js';
import { createUploads, createUploadWork, type UploadsOptions } from '../src/features/uploads/uploads.js';
import { purgeFiles } from '../src/features/cleanup/trash-queries.js';
import { planVariants } from '../src/features/variants/plan.js';
import type { BlobStore } from '../src/foundation/blobs/blob-store.js';
import { openDiskStore } from '../src/foundation/blobs/disk.js';
import type { Db } from '../src/foundation/database/connect.js';
import { createOutbound, type OutboundOptions } from '../src/foundation/http/outbound/outbound.js';
import { createApp, type App } from '../src/foundation/http/app.js';
import { newId } from '../src/foundation/ids.js';
import { ImagingError } from '../src/foundation/imaging/imaging.js';
import { createLog } from '../src/foundation/log.js';
import type { JobContext } from '../src/foundation/queue/define.js';
import Type from 'typebox';
import { cleanupOptions } from './cleanup-options.js';
import { createTestClock, type TestClock } from './api.js';
import { createTestDatabase, type TestDatabase } from './database.js';

export interface UploadKitOptions {
  readonly limits?: Partial<UploadLimits>;
  readonly imaging?: UploadsOptions['imaging'];
  readonly defaultQuotaBytes?: number | null;
  readonly heartbeatMs?: number;
  readonly poolSize?: number;
  readonly uploadStaleSeconds?: number;
  readonly uploadExpirySeconds?: number;
  /** Another process on the same database and store. */
  readonly beside?: UploadKit;
  /** Where imports may come from, nowhere by default, and how slow they may be. */
  readonly outbound?: Partial<OutboundOptions>;
  readonly importTimeoutMs?: number;
  readonly planVariants?: UploadsOptions['planVariants'];
  /** The store in place of a new folder; stays open. */
  readonly backing?: BlobStore;
  /** Another way for uploads to the database of this URL; whoever opens it closes it. */
  readonly reach?: (url: string) => Promise<Db>;
  /** Puts faults in front of the store. */
  readonly store?: (real: BlobStore) => BlobStore;
}

/** What a failed upload may leave behind, and what it must not. */
export interface Leftovers {
  readonly rows: number;
  readonly blobs: readonly string[];
  readonly temporaries: readonly string[];
  readonly reservedBytes: number;
  readonly reservedFiles: number;
  readonly tombstones: number;
}

export const nothing: Leftovers = {
  rows: 0,
  blobs: [],
  temporaries: [],
  reservedBytes: 0,
  reservedFiles: 0,
  tombstones: 0,
};

/** The rooms of uploads, files and cleanup behind a real socket, on a database and a folder of their own. */
export interface UploadKit {
  readonly app: App;
  readonly db: Db;
  readonly testDatabase: TestDatabase;
  readonly blobs: BlobStore;
  /** Of the store on disk. */
  readonly folder: string;
  readonly port: number;
  readonly url: string;
  readonly uploads: ReturnType<typeof createUploads>;
  readonly work: ReturnType<typeof createUploadWork>;
  /** Of signed addresses. */
  readonly clock: TestClock;
  readonly userId: string;
  project(settings?: Record<string, unknown>): Promise<string>;
  /** Posts a body to the project's upload route. */
  send(
    projectId: string,
    body: Buffer,
    headers?: Record<string, string>,
    transfer?: 'sized' | 'chunked',
  ): Promise<Response>;
  usage(
    projectId: string,
  ): Promise<{ bytes: number; files: number; reserved: number; reservedFiles: number }>;
  /** A key of the project that may only upload, bound to the rules given; answers with its text. */
  key(projectId: string, rules?: Partial<KeyRules>): Promise<string>;
  /** Runs a cleanup job once. */
  cleanup(kind: 'expire-uploads' | 'purge-blobs' | 'forget-upload-keys'): Promise<void>;
  /** Runs the jobs of unfinished uploads that wait, whenever they are due. */
  finishUploads(): Promise<void>;
  /** What is left of a project's uploads after the purge; second deletions count as done. */
  leftovers(projectId: string): Promise<Leftovers>;
  close(): Promise<void>;
}

const presentPlainly: PresentFiles = async (_projectId, files) =>
  files.map((file) => ({
    id: file.id,
    filename: file.filename,
    mimeType: file.mime_type,
    size: file.size,
    sha256: file.sha256?.toString('hex'),
    status: file.status,
    width: file.width,
    height: file.height,
    metadata: file.metadata,
    version: file.version,
  }));

const PlainView = Type.Object({
  id: Type.String(),
  filename: Type.String(),
  mimeType: Type.String(),
  size: Type.Integer(),
  sha256: Type.String(),
  status: Type.String(),
  width: Type.Union([Type.Integer(), Type.Null()]),
  height: Type.Union([Type.Integer(), Type.Null()]),
  metadata: Type.Unknown(),
  version: Type.Integer(),
});

/** For tests that send no pictures. */
const noImaging: UploadsOptions['imaging'] = {
  probe: () => Promise.reject(new ImagingError('unsupported-codec', 'there is no decoder in this test')),
};

export async function createUploadKit(options: UploadKitOptions = {}): Promise<UploadKit> {
  const { beside } = options;
  const testDatabase =
    beside?.testDatabase ?? (await createTestDatabase({ poolSize: options.poolSize ?? 10 }));
  const { db } = testDatabase.database;
  const folder = beside?.folder ?? (await mkdtemp(join(tmpdir(), 'mbk-uploads-')));
  const log = await createLog({ level: 'silent', pretty: false });
  const clock = createTestClock();
  const disk = options.backing ?? (await openDiskStore({ folder }));
  const blobs = options.store?.(disk) ?? disk;
  const userId = beside?.userId ?? (await insertPerson(db));
  const outbound = createOutbound({
    ports: ['80', '443'],
    allow: [],
    userAgent: 'Test/1',
    pace: { idleTimeoutMs: 2_000, minBytesPerSecond: 0 },
    answerTimeoutMs: 2_000,
    ...options.outbound,
  });
  const uploads = createUploads({
    db: (await options.reach?.(testDatabase.url)) ?? db,
    blobs,
    imaging: options.imaging ?? noImaging,
    planVariants: options.planVariants ?? planVariants,
    present: presentPlainly,
    fileViewSchema: PlainView,
    publicUrl: 'http://media.test',
    limits: {
      maxBytes: 64 * 1024 * 1024,
      maxFiles: 100,
      idleTimeoutMs: 10_000,
      minBytesPerSecond: 0,
      ...options.limits,
    },
    defaultQuotaBytes: options.defaultQuotaBytes ?? null,
    log,
    uploadKeysSeconds: cleanupOptions.uploadKeysSeconds,
    uploadStaleSeconds: options.uploadStaleSeconds ?? 300,
    expirySeconds: options.uploadExpirySeconds ?? 3600,
    addressSecrets: ['a secret that is only good for tests'],
    addressSeconds: 600,
    clock,
    outbound,
    ...(options.heartbeatMs === undefined ? {} : { heartbeatMs: options.heartbeatMs }),
  });
  const app = createApp({ log, trustedProxies: [] });
  guardRoutes(app, {
    db,
    identify: [
      createKeys({ db, log, clock }).identify,
      async (request): Promise<Caller | undefined> =>
        request.headers['x-nobody'] === undefined
          ? { kind: 'user', userId, sessionId: newId(), role: 'user' }
          : undefined,
    ],
  });
  fileRoutes({
    db,
    nameSearch: () => Promise.resolve('substring'),
    present: presentPlainly,
    fileViewSchema: PlainView,
    purge: (tx, projectId, ids) => purgeFiles(tx, projectId, ids, { againAfter: 60 }),
  })(app);
  uploads.routes(app);
  const url = await app.listen({ port: 0, host: '127.0.0.1' });
  const port = Number(new URL(url).port);
  const work = createUploadWork({
    db,
    blobs,
    imaging: options.imaging ?? noImaging,
    planVariants: options.planVariants ?? planVariants,
    maxBytes: 64 * 1024 * 1024,
    defaultQuotaBytes: options.defaultQuotaBytes ?? null,
    outbound,
    importTimeoutMs: options.importTimeoutMs ?? 30_000,
    heartbeatMs: options.heartbeatMs,
    importsSeconds: 7 * 86_400,
    cap: cleanupOptions.cap,
    log,
    ...options.limits,
  });
  const cleanup = createCleanup({
    db,
    blobs: disk,
    log,
    ...cleanupOptions,
    uploadStaleSeconds: options.uploadStaleSeconds ?? 300,
    uploadExpirySeconds: options.uploadExpirySeconds ?? 3600,
  });

  const runCleanup = async (kind: string): Promise<void> => {
    const handler = cleanup.handlers.find((one) => one.kind.name === kind);
    if (!handler) throw new Error(`no handler for ${kind}`);
    const context: JobContext = {
      id: newId(),
      payload: {},
      projectId: null,
      attempt: 1,
      lastAttempt: false,
      signal: new AbortController().signal,
      log,
      finish: (work) => inTransaction(db, work),
    };
    await handler.run(context);
  };

  const usage: UploadKit['usage'] = async (projectId) => {
    const row = await db
      .selectFrom('project_usage')
      .selectAll()
      .where('project_id', '=', projectId)
      .executeTakeFirstOrThrow();
    return {
      bytes: row.original_bytes,
      files: row.file_count,
      reserved: row.reserved_bytes,
      reservedFiles: row.reserved_files,
    };
  };

  return {
    app,
    db,
    testDatabase,
    blobs: disk,
    folder,
    clock,
    port,
    url,
    uploads,
    work,
    userId,
    async project(settings = {}) {
      const id = newId();
      await inTransaction(db, (tx) =>
        insertProject(tx, { id, ownerId: userId, name: 'a project', settings: checkSettings(settings) }),
      );
      return id;
    },
    async key(projectId, rules = {}) {
      const text = newKey();
      await insertKey(db, projectId, {
        allowedOrigins: null,
        allowedAddresses: null,
        maxFileBytes: null,
        maxFiles: null,
        allowedTypes: null,
        ...rules,
        id: newId(),
        name: 'Test',
        prefix: keyPrefix(text),
        hash: keyHash(text) ?? Buffer.alloc(0),
        scopes: ['files:create'],
        createdBy: userId,
        expiresAt: null,
      });
      return text;
    },
    send: (projectId, body, headers = {}, transfer = 'sized') =>
      fetch(`${url}/projects/${projectId}/upload`, {
        method: 'POST',
        headers: { 'content-type': multipartType, ...headers },
        body: transfer === 'sized' ? new Uint8Array(body) : new Blob([new Uint8Array(body)]).stream(),
        duplex: 'half',
      }),
    usage,
    cleanup: runCleanup,
    async finishUploads() {
      for (const handler of work.handlers) {
        const jobs = await db
          .deleteFrom('waiting_jobs')
          .where('kind', '=', handler.kind.name)
          .returningAll()
          .execute();
        for (const job of jobs) {
          await handler.run({
            id: job.id,
            payload: job.payload,
            projectId: job.project_id,
            attempt: 1,
            lastAttempt: false,
            signal: new AbortController().signal,
            log,
            finish: (run) => inTransaction(db, run),
          });
        }
      }
    },
    async leftovers(projectId) {
      // Twice: keys that somebody may still have been writing are deleted a second time.
      for (let round = 0; round < 2; round++) {
        await db
          .updateTable('tombstones')
          .set({ not_before: new Date(0) })
          .execute();
        await runCleanup('purge-blobs');
      }
      const rows = await db.selectFrom('files').select('id').where('project_id', '=', projectId).execute();
      const counted = await usage(projectId);
      const living = await db
        .selectFrom('uploads')
        .select(['staging_key', 'tail_key', 'next_tail_key'])
        .where('status', 'in', ['open', 'completing'])
        .where('project_id', '<>', projectId)
        .execute();
      // What uploads of other projects hold in the common folder is none of this one's.
      const others = new Set(living.flatMap((row) => [row.staging_key, row.tail_key, row.next_tail_key]));
      const found: string[] = [];
      for (const prefix of [`${projectId}/`, '.staging/']) {
        for await (const { key } of disk.list({ prefix })) if (!others.has(key)) found.push(key);
        for await (const { key } of disk.multipart.list(prefix)) if (!others.has(key)) found.push(key);
      }
      const tombstones = await db
        .selectFrom('tombstones')
        .select('key')
        .where('project_id', '=', projectId)
        .execute();
      return {
        rows: rows.length,
        blobs: found,
        temporaries: options.backing ? [] : await temporaryFiles(join(folder, '.tmp')),
        reservedBytes: counted.reserved,
        reservedFiles: counted.reservedFiles,
        tombstones: tombstones.length,
      };
    },
    async close() {
      await app.close();
      await uploads.close();
      await work.close();
      if (!options.backing) await disk.close();
      if (beside) return;
      await testDatabase.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Names of files that puts under way write into; a process's own folder and its lock are not among them. */
async function temporaryFiles(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => entry.name);
}

async function insertPerson(db: Db): Promise<string> {
  const id = newId();
  const email = `${randomUUID()}@example.test`;
  await db.insertInto('users').values({ id, email, email_canonical: email, password_hash: 'none' }).execute();
  return id;
}

/** A part of a body that `multipartBody` makes. */
export interface TestPart {
  readonly name?: string;
  readonly filename?: string;
  readonly type?: string;
  readonly content: Buffer | string;
  /** Header lines in place of those made of the members above, without the last line break. */
  readonly header?: string;
}

export const testBoundary = '----test-boundary-7MA4YWxk';
export const multipartType = `multipart/form-data; boundary=${testBoundary}`;

export function multipartBody(parts: readonly TestPart[]): Buffer {
  const pieces: Buffer[] = [];
  for (const part of parts) {
    const filename = part.filename === undefined ? '' : `; filename="${part.filename}"`;
    const header =
      part.header ??
      `Content-Disposition: form-data; name="${part.name ?? 'file'}"${filename}` +
        (part.type === undefined ? '' : `\r\nContent-Type: ${part.type}`);
    pieces.push(
      Buffer.from(`--${testBoundary}\r\n${header}\r\n\r\n`),
      Buffer.from(part.content),
      Buffer.from('\r\n'),
    );
  }
  pieces.push(Buffer.from(`--${testBoundary}--\r\n`));
  return Buffer.concat(pieces);
}
