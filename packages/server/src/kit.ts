import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { loadOrCreateSecrets } from './config/secrets.js';
import type { StoreAddress } from './config/store-address.js';
import type { Settings } from './config.js';
import type { Identify } from './features/access/caller.js';
import { createContentTargets } from './features/access/content-targets.js';
import { hearAccessNotice } from './features/access/notices.js';
import type { Target } from './features/access/queries.js';
import { createAccounts } from './features/accounts/accounts.js';
import { createCleanup, expireUploadsJob, lateWriteSeconds } from './features/cleanup/cleanup.js';
import { deleteFilesJob } from './features/cleanup/deletions/job.js';
import { deletionRoutes } from './features/cleanup/deletions/routes.js';
import { createAccountMail, sendAccountMail } from './features/accounts/mail.js';
import { auditRoutes } from './features/audit/routes.js';
import { housekeepingKinds } from './features/cleanup/housekeeping.js';
import { orderPurge, purgeProjectJob } from './features/cleanup/projects/purge-job.js';
import { reportAbilities } from './features/cleanup/store-abilities.js';
import { claimStore } from './features/cleanup/store-identity.js';
import { purgeTrashJob } from './features/cleanup/trash.js';
import { purgeFiles } from './features/cleanup/trash-queries.js';
import { cleanupGauges } from './features/cleanup/gauges.js';
import { checkIntegrityJob, createIntegrityWork } from './features/cleanup/integrity/job.js';
import { integrityRoutes } from './features/cleanup/integrity/routes.js';
import { createSweepWork, sweepBlobs } from './features/cleanup/sweep/job.js';
import { changedFile, createChanges } from './features/delivery/changes.js';
import { createDelivery } from './features/delivery/delivery.js';
import { createLinks } from './features/delivery/links.js';
import { createPresenter, FileViewSchema } from './features/delivery/present.js';
import { purgeBlobs } from './features/files/purge-job.js';
import { nameSearchOf } from './features/files/queries.js';
import { fileRoutes } from './features/files/routes.js';
import { watchWork } from './features/jobs/metrics.js';
import { jobRoutes } from './features/jobs/routes.js';
import { createKeys } from './features/keys/keys.js';
import { createProjects } from './features/projects/projects.js';
import { findProject } from './features/projects/queries.js';
import { verifyUploadJob } from './features/uploads/direct/verify-job.js';
import { finishUploadJob } from './features/uploads/tus/finish-job.js';
import { importFileJob, tidyImportsJob } from './features/uploads/import/job.js';
import { failImportsOfProject } from './features/uploads/import/queries.js';
import {
  createUploads,
  createUploadWork,
  type Uploads,
  type UploadsOptions,
} from './features/uploads/uploads.js';
import { renderVariants, reviveVariants } from './features/variants/job.js';
import { planVariants, type PlanOptions } from './features/variants/plan.js';
import { collectVariants } from './features/variants/collect.js';
import { previewRoutes } from './features/variants/preview/routes.js';
import type { Selection } from './features/variants/regenerate/choose.js';
import { orderRegeneration, regenerateVariants } from './features/variants/regenerate/job.js';
import { planAnew } from './features/variants/regenerate/plan-anew.js';
import { endRegenerationsOfProject } from './features/variants/regenerate/queries.js';
import { regenerationRoutes } from './features/variants/regenerate/routes.js';
import { settingsChanged, VariantChangesSchema } from './features/variants/regenerate/settings-change.js';
import { createRequests, createVariantsWork } from './features/variants/variants.js';
import type { BlobStore } from './foundation/blobs/blob-store.js';
import { openBlobStore, type BlobStoreOptions } from './foundation/blobs/open.js';
import { systemClock } from './foundation/clock.js';
import { openDatabase, type Database, type Tx } from './foundation/database/connect.js';
import { startEmbedded } from './foundation/database/embedded.js';
import { migrate } from './foundation/database/migrate.js';
import { waitForDatabase } from './foundation/database/wait.js';
import type { Routes } from './foundation/http/app.js';
import { chooseAllocator, type AllocatorEnvironment } from './foundation/imaging/allocator.js';
import { findFfmpeg } from './foundation/imaging/ffmpeg.js';
import type { Imaging } from './foundation/imaging/imaging.js';
import { createImaging } from './foundation/imaging/pool.js';
import { createPosters, type Posters } from './foundation/imaging/poster.js';
import type { Log } from './foundation/log.js';
import { createMailer, type Mailer } from './foundation/mail.js';
import { createMetrics, type Metrics } from './foundation/metrics.js';
import { cancel } from './foundation/queue/cancel.js';
import type { JobHandler, JobKind, TimetableEntry } from './foundation/queue/define.js';
import {
  cleanupOptions,
  collectOptions,
  heartbeatOf,
  loginLimits,
  outboundOf,
  remedies,
  sweepOptions,
  tidyOptions,
} from './kit/room-options.js';

/** Folder of the SQL migrations; the path is the same from the source and from the build. */
export const migrations = new URL('../migrations/', import.meta.url);

/** Seconds after which no put of an abandoned attempt can still be under way: what a store call may take, doubled. */
const maxWriteSeconds = 15 * 60;
/** Requests that one process holds for variants at once; each is a socket and a timer. */
const maxWaiters = 1_000;

/** Previews that wait for the one decoder that makes them; each holds an original on the disk. */
const maxPreviews = 8;

/** What the rooms stand on: the database with its schema up to date. */
export interface Ground {
  readonly database: Database;
  /** Connection string without a pooler in between; for LISTEN. */
  readonly directUrl: string;
  /** Names of the migrations that this process applied. */
  readonly migrated: readonly string[];
  close(): Promise<void>;
}

/** Everything a process is made of, built once. Doors are opened by `web.ts` and `work.ts`. */
export interface Kit {
  readonly settings: Settings;
  readonly log: Log;
  readonly database: Database;
  readonly directUrl: string;
  readonly blobs: BlobStore;
  /** What the process counts, whatever it does. */
  readonly metrics: Metrics;
  /** Memory allocator of the decoders; tried out once, when the first are started. */
  readonly allocator: () => Promise<AllocatorEnvironment>;
  /** Program of the decoders, where it is not the one of the build. */
  readonly decoderEntry?: URL;
  /** Closes the doors, then everything else in the opposite order of opening. */
  close(): Promise<void>;
  /** Adds something that must be closed before what is there already. */
  opened(close: () => Promise<void>): void;
  /** Adds a door: all doors are closed together, before anything else, so that none waits for another's patience. */
  openedDoor(close: () => Promise<void>): void;
  /** True once the process has begun to stop. */
  stopping(): boolean;
}

/** What the API is made of. */
export interface ApiRooms {
  readonly identify: readonly Identify[];
  readonly routes: readonly Routes[];
  readonly uploads: Uploads;
  readonly metrics: Metrics;
  /** What the guard remembers of files whose bytes are asked for. */
  readonly findContentTarget: (fileId: string, userId: string | undefined) => Promise<Target | undefined>;
  /** To be told what the database says on `deliveryChannel`. */
  readonly onDeliveryNotice: (notice: string) => void;
  /** To be told what the database says on `accessChannel`. */
  readonly onAccessNotice: (notice: string) => void;
}

/** What background work is made of. */
export interface WorkRooms {
  /** Every kind of job that any room enqueues. */
  readonly kinds: readonly JobKind[];
  readonly handlers: readonly JobHandler[];
  readonly timetable: readonly TimetableEntry[];
  /** Most jobs of a kind that one process runs at the same time. */
  readonly atMost: ReadonlyMap<string, number>;
}

/** Closes in the opposite order of opening; a failure is logged and does not keep the others open. */
export function createClosers(log: Log): Pick<Kit, 'close' | 'opened' | 'openedDoor' | 'stopping'> {
  const closers: (() => Promise<void>)[] = [];
  const doors: (() => Promise<void>)[] = [];
  let closing: Promise<void> | undefined;
  const closeOne = async (close: () => Promise<void>): Promise<void> => {
    try {
      await close();
    } catch (error) {
      log.error({ err: error }, 'something did not close');
    }
  };
  const closeAll = async (): Promise<void> => {
    await Promise.all(doors.map(closeOne));
    for (let close = closers.pop(); close; close = closers.pop()) await closeOne(close);
  };
  return {
    opened: (close) => void closers.push(close),
    openedDoor: (close) => void doors.push(close),
    close: () => (closing ??= closeAll()),
    stopping: () => closing !== undefined,
  };
}

/** A database server that answers; its schema may be any. */
export interface DatabaseServer {
  readonly url: string;
  /** The same past a transaction pooler. */
  readonly directUrl: string;
  /** True when `url` leads through one. */
  readonly pooled: boolean;
  close(): Promise<void>;
}

/** Finds the database server, the embedded one when none is given, and changes nothing in it. */
export async function openServer(settings: Settings, log: Log): Promise<DatabaseServer> {
  const { databaseUrl: url, databaseDirectUrl: directUrl } = settings;
  if (url === undefined || directUrl === undefined) {
    await mkdir(settings.dataFolder, { recursive: true, mode: 0o700 });
    const embedded = await startEmbedded({ folder: join(settings.dataFolder, 'postgres'), log });
    return { url: embedded.url, directUrl: embedded.url, pooled: false, close: () => embedded.stop() };
  }
  const { pooled } = await waitForDatabase({ url, log });
  if (directUrl !== url) await waitForDatabase({ url: directUrl, log });
  return { url, directUrl, pooled, close: () => Promise.resolve() };
}

/** Connects to the database, the embedded one when none is given, and brings its schema up to date. */
export async function openGround(settings: Settings, log: Log, name: string): Promise<Ground> {
  const closers = createClosers(log);
  try {
    const server = await openServer(settings, log);
    closers.opened(() => server.close());
    const { url, directUrl, pooled } = server;
    const { applied } = await migrate({ url: directUrl, folder: migrations, log });
    const database = openDatabase({
      url,
      poolSize: settings.databasePoolSize,
      statementTimeoutMs: settings.statementTimeoutMs,
      lockTimeoutMs: settings.lockTimeoutMs,
      applicationName: `mediablobkit ${name}`,
      pooled,
      log,
    });
    closers.opened(() => database.close());
    return { database, directUrl, migrated: applied, close: () => closers.close() };
  } catch (error) {
    await closers.close();
    throw error;
  }
}

/** Opens the database and the store. */
export async function buildKit(settings: Settings, log: Log, name: string): Promise<Kit> {
  const closers = createClosers(log);
  try {
    const ground = await openGround(settings, log, name);
    closers.opened(() => ground.close());
    const blobs = await openStore(settings, log);
    closers.opened(() => blobs.close());
    await blobs.check();
    const fault = await claimStore({ db: ground.database.db, blobs });
    if (fault !== undefined) log.error(fault);
    // Nobody waits for it: what a room needs of the store it asks by itself.
    const reporting = new AbortController();
    closers.opened(() => Promise.resolve(reporting.abort()));
    void reportAbilities(blobs, log, reporting.signal);
    let allocator: Promise<AllocatorEnvironment> | undefined;
    const metrics = createMetrics({ own: true });
    cleanupGauges(ground.database.db, metrics);
    watchWork({ db: ground.database.db, metrics });
    return {
      settings,
      log,
      database: ground.database,
      directUrl: ground.directUrl,
      blobs,
      metrics,
      allocator: () => (allocator ??= chooseAllocator(log)),
      ...closers,
    };
  } catch (error) {
    await closers.close();
    throw error;
  }
}

/** Opens the store that the settings name. */
export function openStore(settings: Settings, log: Log): Promise<BlobStore> {
  return openBlobStore(storeOptions(settings, log));
}

function storeOptions(settings: Settings, log: Log): BlobStoreOptions {
  return { ...storeAddress(settings), log };
}

/** Where the store of the settings is. */
export function storeAddress(settings: Settings): StoreAddress {
  if (settings.store === 'disk') return { backend: 'disk', folder: join(settings.dataFolder, 'blobs') };
  if (settings.s3 === undefined) throw new TypeError('config gives every S3 store its access');
  return { backend: 's3', ...settings.s3 };
}

/** Builds the rooms behind the API. */
export async function buildApi(kit: Kit): Promise<ApiRooms> {
  const { settings, log, blobs, metrics } = kit;
  const { db } = kit.database;
  const { publicUrl } = settings;
  const clock = systemClock;
  const nameSearch = onceKnown(() => nameSearchOf(db));
  const { jwtSecret, linkSecret } = await secretsOf(settings);
  const { linkSecretPrevious } = settings;

  const { jwtSecretPrevious } = settings;
  const accounts = await createAccounts({
    db,
    log,
    clock,
    jwtSecrets: jwtSecretPrevious === undefined ? [jwtSecret] : [jwtSecret, jwtSecretPrevious],
    publicUrl,
    pagesUrl: settings.pagesUrl,
    sendsMail: settings.smtpUrl !== undefined,
    loginLimits: loginLimits(settings, kit.database.pool),
    removeProjectsOf: (userId) => projects.removeAllOf(userId),
    accessTokenSeconds: settings.accessTokenLifetimeMs / 1000,
    refreshTokenSeconds: settings.refreshTokenLifetimeMs / 1000,
    registration: settings.registration,
    parallelHashes: settings.passwordHashes,
  });
  // Filled below: rooms of lower floors tell those above them what they have changed.
  const changes = createChanges();
  const targets = createContentTargets({ db, clock });
  const projects = createProjects({
    db,
    log,
    publicUrl,
    pagesUrl: settings.pagesUrl,
    onMembersChanged: () => {
      targets.forgetMembers();
      changes.tell(undefined);
    },
    onCommitted: () => changes.tell(undefined),
    onSettingsChanged: (tx, { id, settings: now }, { settings: before }) =>
      settingsChanged(tx, id, before, now),
    settingsChangesSchema: VariantChangesSchema,
    // Nobody waits for the pictures of a deleted project; a restored one has them planned anew.
    onDeleted: async (tx, { id }) => {
      await failImportsOfProject(tx, id);
      await endRegenerationsOfProject(tx, id);
      await cancel(tx, { projectId: id });
    },
    onRestored: (tx, { id }) => planMissing(tx, id),
    onPurged: (tx, { id }) => orderPurge(tx, id),
  });
  const keys = createKeys({ db, log, clock });
  const linkSecrets: [string, ...string[]] =
    linkSecretPrevious === undefined ? [linkSecret] : [linkSecret, linkSecretPrevious];
  const links = createLinks({
    secrets: linkSecrets,
    publicUrl,
    lifetimeSeconds: settings.linkLifetimeMs / 1000,
    clock,
  });
  const { cdnUrl } = settings;
  const present = createPresenter({ db, links, publicUrl, cdnUrl });
  // A child of its own for the door: an upload's header must not wait behind the workers' renders.
  const doorImaging = await openImaging(kit, 1);
  const uploads = createUploads({
    db,
    blobs,
    imaging: doorImaging,
    planVariants: plannerOf(settings),
    present,
    fileViewSchema: FileViewSchema,
    publicUrl,
    limits: {
      maxBytes: settings.maxUploadBytes,
      maxFiles: settings.maxFilesPerUpload,
      idleTimeoutMs: settings.uploadIdleTimeoutMs,
      minBytesPerSecond: settings.uploadMinThroughput,
    },
    heartbeatMs: heartbeatOf(settings),
    outbound: outboundOf(settings),
    uploadStaleSeconds: settings.uploadStaleMs / 1000,
    uploadKeysSeconds: settings.idempotencyLifetimeMs / 1000,
    expirySeconds: settings.uploadExpiryMs / 1000,
    addressSecrets: linkSecrets,
    addressSeconds: Math.floor(settings.uploadUrlLifetimeMs / 1000),
    clock,
    defaultQuotaBytes: settings.defaultQuotaBytes ?? null,
    log,
  });
  const requests = createRequests({
    db,
    log,
    maxWaiters,
    adhoc: { perFile: settings.transformsPerFile, keepSeconds: settings.transformLifetimeMs / 1000 },
  });
  const delivery = createDelivery({
    db,
    blobs,
    links,
    variants: requests,
    clock,
    mode: settings.delivery,
    maxWaitSeconds: settings.maxWaitMs / 1000,
    maxLinkSeconds: Math.floor(settings.linkMaxLifetimeMs / 1000),
    publicUrl,
    cdnUrl,
    memoryBytes: settings.memoryCacheBytes,
    verifyReads: settings.verifyReads,
    accelPrefix: settings.store === 'disk' ? settings.accelRedirect : undefined,
    metrics,
  });
  changes.hear((fileId) => {
    delivery.forget(fileId);
    targets.forget(fileId);
    // Last: who waited reads anew.
    requests.waits.changed(fileId);
  });
  return {
    identify: [links.identify, keys.identify, accounts.identify],
    routes: [
      accounts.routes,
      projects.routes,
      keys.routes,
      auditRoutes(db),
      fileRoutes({
        db,
        nameSearch,
        present,
        fileViewSchema: FileViewSchema,
        onChanged: (id) => changes.tell(id),
        purge: (tx, projectId, ids) => purgeFiles(tx, projectId, ids, { againAfter: lateWriteSeconds }),
        onRestored: (tx, { id: fileId, project_id: projectId }) =>
          planAgain(tx, projectId, fileId, ['failed', 'missing']),
        onFocalPoint: (tx, { id: fileId, project_id: projectId }) =>
          planAgain(tx, projectId, fileId, ['stale']),
      }),
      deletionRoutes({ db, publicUrl, nameSearch }),
      jobRoutes({ db }),
      integrityRoutes({ db }),
      regenerationRoutes({ db, publicUrl }),
      previewRoutes({
        db,
        blobs,
        imaging: openedWhenUsed(() => openImaging(kit, 1, maxPreviews)),
        temporaryFolder: join(settings.dataFolder, 'work'),
        log,
      }),
      uploads.routes,
      delivery.routes,
    ],
    uploads,
    metrics,
    findContentTarget: (fileId, userId) => targets.find(fileId, userId),
    onAccessNotice: (notice) =>
      hearAccessNotice(
        {
          forgetSessions: (id) => accounts.forget(id),
          forgetKeys: () => keys.forget(),
          forgetMembers: () => targets.forgetMembers(),
        },
        notice,
      ),
    onDeliveryNotice: (notice) => changes.tell(changedFile(notice)),
  };
}

/** Builds the rooms behind background work. */
export async function buildWork(kit: Kit): Promise<WorkRooms> {
  const { settings, log, blobs, metrics } = kit;
  const { db } = kit.database;
  const temporaryFolder = join(settings.dataFolder, 'work');
  await mkdir(temporaryFolder, { recursive: true, mode: 0o700 });
  const [imaging, posters] = await Promise.all([
    openImaging(kit, settings.imagingProcesses),
    openPosters(settings, log),
  ]);
  const variants = createVariantsWork({
    db,
    blobs,
    imaging,
    posters,
    temporaryFolder,
    maxWriteSeconds,
    ...collectOptions(settings),
    log,
  });
  const uploads = createUploadWork({
    db,
    blobs,
    imaging,
    planVariants: plannerOf(settings),
    maxBytes: settings.maxUploadBytes,
    defaultQuotaBytes: settings.defaultQuotaBytes ?? null,
    outbound: outboundOf(settings),
    importTimeoutMs: settings.importTimeoutMs,
    heartbeatMs: heartbeatOf(settings),
    ...tidyOptions(settings),
    log,
  });
  // After the runner's door, so that what is still under way has been given back.
  kit.opened(() => uploads.close());
  const cleanup = createCleanup(cleanupOptions(settings, { db, blobs, log }));
  const sweep = createSweepWork({
    ...sweepOptions(settings, { db, blobs }),
    metrics,
    policy: settings.orphanSweep,
  });
  const { integrityBytesPerDay: bytesPerDay } = settings;
  const integrity = createIntegrityWork({ db, blobs, remedies, metrics, bytesPerDay });
  const rooms = [variants, uploads, cleanup, sweep, integrity];
  const mailer = openMailer(kit);
  return {
    kinds: [
      sendAccountMail,
      renderVariants,
      reviveVariants,
      regenerateVariants,
      collectVariants,
      finishUploadJob,
      verifyUploadJob,
      importFileJob,
      tidyImportsJob,
      expireUploadsJob,
      purgeBlobs,
      purgeTrashJob,
      purgeProjectJob,
      deleteFilesJob,
      sweepBlobs,
      checkIntegrityJob,
      ...housekeepingKinds,
    ],
    handlers: [
      createAccountMail({ db, mailer, pagesUrl: settings.pagesUrl }),
      ...rooms.flatMap(({ handlers }) => handlers),
    ],
    timetable: rooms.flatMap(({ timetable }) => timetable),
    atMost: new Map([[importFileJob.name, settings.importConcurrency]]),
  };
}

/** Where mail is handed to; undefined when nothing is sent. */
function openMailer(kit: Kit): Mailer | undefined {
  const { smtpUrl: url, mailFrom: from } = kit.settings;
  if (url === undefined || from === undefined) return undefined;
  const mailer = createMailer({ url, from });
  kit.opened(() => Promise.resolve(mailer.close()));
  return mailer;
}

/** The planning of variants, which the rooms of uploads are handed. */
function plannerOf({ svg }: Settings): UploadsOptions['planVariants'] {
  const options: PlanOptions = { rasterizesSvg: svg === 'rasterize' };
  return (tx, file, settings) => planVariants(tx, file, settings, options);
}

/** Has variants of one file made anew, behind new uploads: it got another focal point, or came back from the trash. */
async function planAgain(
  tx: Tx,
  projectId: string,
  fileId: string,
  selections: readonly Selection[],
): Promise<void> {
  const project = await findProject(tx, projectId);
  if (!project) return;
  for (const which of selections) {
    await planAnew(tx, { projectId, fileId }, project.settings, { which, lane: 'normal' });
  }
}

/** A project that comes back from the trash has lost the jobs of its pictures. */
async function planMissing(tx: Tx, projectId: string): Promise<void> {
  for (const which of ['missing', 'failed'] as const)
    await orderRegeneration(tx, { projectId, which, reason: 'request' });
}

/** Asks once; a failure is told to those who asked, and forgotten. */
function onceKnown<T>(ask: () => Promise<T>): () => Promise<T> {
  let known: Promise<T> | undefined;
  return () => {
    if (known) return known;
    const asked = ask();
    known = asked;
    asked.catch(() => {
      known = undefined;
    });
    return asked;
  };
}

/** Starts the decoders at the first render: most processes never make a preview. */
function openedWhenUsed(open: () => Promise<Imaging>): Imaging {
  let opened: Promise<Imaging> | undefined;
  const imaging = (): Promise<Imaging> => (opened ??= open());
  return {
    probe: async (source, signal) => (await imaging()).probe(source, signal),
    render: async (request) => (await imaging()).render(request),
    close: async () => (await opened)?.close(),
  };
}

async function openImaging(kit: Kit, size: number, maxWaiting?: number): Promise<Imaging> {
  const { settings, log } = kit;
  const imaging = createImaging({
    log,
    size,
    memoryLimitBytes: settings.imagingMemoryBytes,
    wallClockMs: settings.imagingTimeoutMs,
    maxPixels: settings.maxPixels,
    ...(maxWaiting === undefined ? {} : { maxWaiting }),
    rasterizesSvg: settings.svg === 'rasterize',
    allocator: await kit.allocator(),
    ...(kit.decoderEntry === undefined ? {} : { childEntry: kit.decoderEntry }),
  });
  kit.opened(() => imaging.close());
  return imaging;
}

async function openPosters(settings: Settings, log: Log): Promise<Posters | undefined> {
  const ffmpeg = await findFfmpeg({ wanted: settings.ffmpeg, folders: settings.programFolders, log });
  if (ffmpeg === undefined) return undefined;
  return createPosters({
    ffmpeg,
    parallel: settings.imagingProcesses,
    memoryLimitBytes: settings.imagingMemoryBytes,
    wallClockMs: settings.imagingTimeoutMs,
    maxPixels: settings.maxPixels,
  });
}

/** The signing secrets: given, or made once into the data folder on the embedded default. */
async function secretsOf(settings: Settings): Promise<{ jwtSecret: string; linkSecret: string }> {
  const { jwtSecret, linkSecret } = settings;
  if (jwtSecret !== undefined && linkSecret !== undefined) return { jwtSecret, linkSecret };
  const made = await loadOrCreateSecrets(settings.dataFolder);
  return { jwtSecret: jwtSecret ?? made.jwtSecret, linkSecret: linkSecret ?? made.linkSecret };
}
