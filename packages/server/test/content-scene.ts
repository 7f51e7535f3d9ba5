import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { guardRoutes } from '../src/features/access/guard.js';
import { createDelivery, type Delivery, type DeliveryOptions } from '../src/features/delivery/delivery.js';
import { createLinks, type Links } from '../src/features/delivery/links.js';
import { checkSettings, defaultSettings, type ProjectSettings } from '../src/features/projects/settings.js';
import { recipeDigest, recipeOf } from '../src/features/variants/recipes.js';
import {
  createRequests,
  createVariantsWork,
  type VariantRequests,
  type VariantsWork,
} from '../src/features/variants/variants.js';
import type { BlobStore } from '../src/foundation/blobs/blob-store.js';
import { openDiskStore } from '../src/foundation/blobs/disk.js';
import { originalKey, variantKey } from '../src/foundation/blobs/keys.js';
import type { Clock } from '../src/foundation/clock.js';
import type { Db } from '../src/foundation/database/connect.js';
import { createApp, type Routes } from '../src/foundation/http/app.js';
import { createMetrics } from '../src/foundation/metrics.js';
import { newId } from '../src/foundation/ids.js';
import { createLog, type Log } from '../src/foundation/log.js';
import { LeaseLost, type JobContext, type JobHandler } from '../src/foundation/queue/define.js';
import type { Imaging } from '../src/foundation/imaging/imaging.js';
import { createTestDatabase } from './database.js';

export interface SceneProject {
  readonly id: string;
  readonly ownerId: string;
  readonly settings: ProjectSettings;
}

export interface SceneFile {
  readonly id: string;
  readonly projectId: string;
  readonly ownerId: string;
  readonly key: string;
  readonly bytes: Buffer;
}

export interface Scene {
  readonly db: Db;
  /** Of the database. */
  readonly url: string;
  readonly blobs: BlobStore;
  readonly log: Log;
  /** Every line logged so far. */
  readonly lines: readonly Record<string, unknown>[];
  /** Folder for temporary files of the test. */
  readonly temporaryFolder: string;
  readonly storeFolder: string;
  project(patch?: unknown): Promise<SceneProject>;
  changeSettings(project: SceneProject, patch: unknown): Promise<SceneProject>;
  file(project: SceneProject, options: FileOptions): Promise<SceneFile>;
  /** A ready variant with these bytes. */
  variant(
    file: SceneFile,
    project: SceneProject,
    name: string,
    bytes: Buffer,
    generation?: number,
  ): Promise<string>;
  close(): Promise<void>;
}

/** What variants are planned from, of a file without a focal point whose first decode is still to come. */
export function derivable(file: SceneFile, mimeType = 'image/jpeg') {
  return {
    id: file.id,
    project_id: file.projectId,
    mime_type: mimeType,
    frames: null,
    focal_x: null,
    focal_y: null,
  };
}

export interface FileOptions {
  readonly bytes: Buffer;
  readonly mimeType?: string;
  readonly filename?: string;
  readonly extension?: string;
  readonly status?: string;
  readonly thumbhash?: Buffer;
}

/** A database, a store on disk, and what a test puts into them. */
export async function openScene(): Promise<Scene> {
  const folder = await mkdtemp(join(tmpdir(), 'mbk-scene-'));
  const test = await createTestDatabase();
  const { db } = test.database;
  const storeFolder = join(folder, 'blobs');
  const blobs = await openDiskStore({ folder: storeFolder });
  const lines: Record<string, unknown>[] = [];
  const log = await createLog({
    level: 'info',
    pretty: false,
    destination: { write: (line: string) => void lines.push(JSON.parse(line) as Record<string, unknown>) },
  });

  const save = async (settings: ProjectSettings, id: string): Promise<void> => {
    await db
      .updateTable('projects')
      .set((eb) => ({ settings: JSON.stringify(settings), version: eb('version', '+', 1) }))
      .where('id', '=', id)
      .execute();
  };

  return {
    db,
    url: test.url,
    blobs,
    log,
    lines,
    storeFolder,
    temporaryFolder: folder,
    async project(patch = {}) {
      const settings = checkSettings(patch);
      const [id, ownerId] = [newId(), newId()];
      const email = `${ownerId}@example.org`;
      await db
        .insertInto('users')
        .values({ id: ownerId, email, email_canonical: email, password_hash: '-' })
        .execute();
      await db
        .insertInto('projects')
        .values({ id, owner_id: ownerId, name: 'project', settings: JSON.stringify(settings) })
        .execute();
      await db.insertInto('project_usage').values({ project_id: id }).execute();
      return { id, ownerId, settings };
    },
    async changeSettings(project, patch) {
      const settings = checkSettings(patch, project.settings);
      await save(settings, project.id);
      return { ...project, settings };
    },
    async file(project, options) {
      const id = newId();
      const { bytes } = options;
      const key = originalKey(project.id, id, options.extension ?? 'bin');
      await blobs.put(key, bytes, { size: bytes.length });
      await db
        .insertInto('files')
        .values({
          id,
          project_id: project.id,
          s3_key: key,
          filename: options.filename ?? 'file.bin',
          mime_type: options.mimeType ?? 'application/octet-stream',
          size: bytes.length,
          sha256: createHash('sha256').update(bytes).digest(),
          status: options.status ?? 'ready',
          thumbhash: options.thumbhash ?? null,
        })
        .execute();
      return { id, projectId: project.id, ownerId: project.ownerId, key, bytes };
    },
    async variant(file, project, name, bytes, generation = 1) {
      const setting = project.settings.variants[name] ?? defaultSettings().variants['thumbnail']!;
      const { format } = setting;
      if (format === 'auto') throw new TypeError('a stored variant has one format');
      const recipe = { ...recipeOf(setting), format };
      const key = variantKey(project.id, name, file.id, 'webp', generation);
      await blobs.put(key, bytes, { size: bytes.length });
      await db
        .insertInto('variants')
        .values({
          file_id: file.id,
          project_id: project.id,
          name,
          status: 'ready',
          recipe: JSON.stringify(recipe),
          recipe_digest: recipeDigest(recipe),
          generation,
          s3_key: key,
          mime_type: 'image/webp',
          width: 1,
          height: 1,
          size: bytes.length,
          sha256: createHash('sha256').update(bytes).digest(),
        })
        .execute();
      return key;
    },
    async close() {
      await blobs.close();
      await test.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

export interface JobRun {
  readonly projectId: string;
  readonly payload: JobContext['payload'];
  /** 1 when absent. */
  readonly attempt?: number;
  /** Becomes true when another worker has taken the job over. */
  readonly lease?: { lost: boolean };
  readonly signal?: AbortSignal;
}

/** What the queue does with a job, with the number of the attempt and its lease in the test's hands. */
export async function runJob(scene: Scene, handler: JobHandler, job: JobRun): Promise<void> {
  const { attempt = 1, lease = { lost: false } } = job;
  await handler.run({
    id: newId(),
    payload: job.payload,
    projectId: job.projectId,
    attempt,
    lastAttempt: attempt === handler.kind.attempts,
    signal: job.signal ?? new AbortController().signal,
    log: scene.log,
    finish: (work) =>
      scene.db.transaction().execute(async (tx) => {
        if (lease.lost) throw new LeaseLost('another worker has the job');
        return work(tx);
      }),
  });
}

/** Where nothing is unmade: a request for a render would be a fault. */
export const nothingToRender: VariantRequests = {
  request: () => Promise.reject(new Error('nothing is to be rendered here')),
  renew: () => {
    throw new Error('nothing is to be kept for longer here');
  },
  waits: {
    settled: () => Promise.reject(new Error('nobody waits here')),
    size: 0,
    changed: () => undefined,
    close: () => undefined,
  },
};

export interface VariantsOptions {
  readonly imaging: Imaging;
  readonly maxWaiters?: number;
  readonly perFile?: number;
  readonly keepSeconds?: number;
  readonly removedGraceSeconds?: number;
}

/** The room of derived images as one process has it that answers and works. */
export function openVariants(scene: Scene, options: VariantsOptions): VariantRequests & VariantsWork {
  const { db, blobs, log, temporaryFolder } = scene;
  const { imaging, maxWaiters = 100, perFile = 100, keepSeconds = 3600, removedGraceSeconds = 0 } = options;
  return {
    ...createRequests({ db, log, maxWaiters, adhoc: { perFile, keepSeconds } }),
    ...createVariantsWork({
      db,
      blobs,
      imaging,
      temporaryFolder,
      maxWriteSeconds: 60,
      removedGraceSeconds,
      cap: 10_000,
      log,
    }),
  };
}

/**
 * Does the work that waits for a project, as a worker would, until none is left that is due; a dedupe key is free as soon
 * as its job is taken.
 * @returns how many jobs that were.
 */
export async function workOff(scene: Scene, room: VariantsWork, project: SceneProject): Promise<number> {
  for (let done = 0; ; done++) {
    const job = await scene.db
      .selectFrom('waiting_jobs')
      .selectAll()
      .where('project_id', '=', project.id)
      .orderBy('lane')
      .orderBy('id')
      .limit(1)
      .executeTakeFirst();
    if (!job) return done;
    await scene.db.deleteFrom('waiting_jobs').where('id', '=', job.id).execute();
    const handler = room.handlers.find(({ kind }) => kind.name === job.kind)!;
    await runJob(scene, handler, { projectId: project.id, payload: job.payload });
  }
}

export interface ServerOptions {
  readonly variants: VariantRequests;
  readonly blobs?: BlobStore;
  readonly mode?: ProjectSettings['delivery']['mode'];
  readonly maxWaitSeconds?: number;
  readonly clock?: Clock;
  /** Beside those of the delivery. */
  readonly routes?: readonly Routes[];
  readonly delivery?: Partial<
    Pick<DeliveryOptions, 'cdnUrl' | 'memoryBytes' | 'verifyReads' | 'accelPrefix'>
  >;
}

export interface Server {
  readonly origin: string;
  readonly links: Links;
  readonly delivery: Delivery;
  /** What a counter of the server says. */
  counted(name: string): Promise<readonly { readonly labels: object; readonly value: number }[]>;
  /** A request as the person with this id, or as nobody; never follows a redirect. */
  fetch(path: string, init?: RequestInit & { readonly as?: string }): Promise<Response>;
  close(): Promise<void>;
}

/** The content routes behind the real guard, on a real socket. A person is named by a header. */
export async function startServer(scene: Scene, options: ServerOptions): Promise<Server> {
  const publicUrl = 'https://media.example';
  const clock = options.clock ?? { now: () => Date.now() };
  const links = createLinks({ secrets: ['s'.repeat(43)], publicUrl, lifetimeSeconds: 3600, clock });
  const app = createApp({ log: scene.log, trustedProxies: [] });
  guardRoutes(app, {
    db: scene.db,
    identify: [
      links.identify,
      async ({ headers }) => {
        const userId = headers['x-test-user'];
        if (typeof userId !== 'string') return undefined;
        return { kind: 'user', userId, sessionId: newId(), role: 'user' };
      },
    ],
  });
  const metrics = createMetrics();
  const delivery = createDelivery({
    db: scene.db,
    blobs: options.blobs ?? scene.blobs,
    links,
    variants: options.variants,
    clock,
    mode: options.mode ?? 'auto',
    maxWaitSeconds: options.maxWaitSeconds ?? 30,
    maxLinkSeconds: 7 * 24 * 3600,
    publicUrl,
    metrics,
    ...options.delivery,
  });
  for (const routes of [delivery.routes, ...(options.routes ?? [])]) routes(app);
  await app.listen({ port: 0, host: '127.0.0.1' });
  const origin = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`;
  return {
    origin,
    links,
    delivery,
    counted: async (name) => (await metrics.registry.getSingleMetric(name)?.get())?.values ?? [],
    fetch(path, { as, ...init } = {}) {
      const headers = new Headers(init.headers);
      if (as !== undefined) headers.set('x-test-user', as);
      return fetch(origin + path.replace(publicUrl, ''), { redirect: 'manual', ...init, headers });
    },
    close: () => app.close(),
  };
}
