import type { Settings } from '../config.js';
import type { RequestLimits } from '../features/access/limits.js';
import type { CleanupOptions } from '../features/cleanup/cleanup.js';
import type { FsckOptions } from '../features/cleanup/fsck/fsck.js';
import type { LoginLimits } from '../features/accounts/login-limiter.js';
import type { Remedies } from '../features/cleanup/integrity/damage.js';
import type { SweepOptions } from '../features/cleanup/sweep/sweep.js';
import { recordEvents } from '../features/events/queries.js';
import type { TidyOptions } from '../features/uploads/import/tidy.js';
import type { CollectOptions } from '../features/variants/collect.js';
import { renderAgain } from '../features/variants/render-again.js';
import type { BlobStore } from '../foundation/blobs/blob-store.js';
import type { Database, Db } from '../foundation/database/connect.js';
import { createOutbound, type Outbound } from '../foundation/http/outbound/outbound.js';
import {
  createLocalLimiter,
  createSharedLimiter,
  type Limiter,
  type Rate,
} from '../foundation/limits/limiter.js';
import type { Log } from '../foundation/log.js';
import { version } from '../version.js';

/** Longest time between two signs of life of an upload; one missed beat must not make it look dead. */
const longestSilenceMs = 30_000;
/** Seconds after which work that nobody does is lost: the timetable looks every minute, and plans anew after 20. */
const fsckSlackSeconds = 30 * 60;

/** A process takes a hundredth of a rate at once: it asks the database once for a hundred requests. */
const lotsOfRate = 100;

/** How often somebody may ask. Bytes are counted by each process, the rest over all of them. */
export function requestLimits(settings: Settings, pool: Database['pool']): RequestLimits {
  const shared = (name: string, rate: Rate | null): Limiter | undefined =>
    rate === null
      ? undefined
      : createSharedLimiter({ pool, name, rate, atOnce: Math.max(1, Math.floor(rate.points / lotsOfRate)) });
  const { contentRate } = settings;
  return {
    auth: shared('auth', settings.authRate),
    caller: shared('caller', settings.apiRate),
    project: shared('project', settings.projectRate),
    content: contentRate === null ? undefined : createLocalLimiter({ rate: contentRate }),
  };
}

/** An address may fail with so many times as many e-mails as with one. */
const accountsOfAddress = 20;

/** How often somebody may fail to log in. */
export function loginLimits({ loginRate: rate }: Settings, pool: Database['pool']): LoginLimits {
  if (rate === null) return {};
  const { points, seconds } = rate;
  return {
    account: createSharedLimiter({ pool, name: 'login', rate }),
    address: createSharedLimiter({
      pool,
      name: 'logins',
      rate: { points: points * accountsOfAddress, seconds },
    }),
  };
}

/** What is done about lost bytes. Nobody outside is told yet. */
export const remedies: Remedies = {
  renderAgain,
  onDamage: (tx, { projectId, fileId, kind }) =>
    recordEvents(tx, [{ projectId, type: 'file.damaged', subjectId: fileId, data: { kind } }]),
};

/** What the timetable takes away, and when. */
export function cleanupOptions(
  settings: Settings,
  ground: { readonly db: Db; readonly blobs: BlobStore; readonly log: Log },
): CleanupOptions {
  return {
    ...ground,
    uploadStaleSeconds: settings.uploadStaleMs / 1000,
    uploadExpirySeconds: settings.uploadExpiryMs / 1000,
    trashSeconds: settings.trashDays * 24 * 60 * 60,
    temporariesSeconds: settings.orphanGraceMs / 1000,
    jobsSeconds: settings.jobsKeptMs / 1000,
    deadJobsSeconds: settings.deadJobsKeptMs / 1000,
    eventsSeconds: settings.eventsKeptMs / 1000,
    uploadKeysSeconds: settings.idempotencyLifetimeMs / 1000,
    auditSeconds: settings.auditKeptMs === undefined ? null : settings.auditKeptMs / 1000,
    cap: settings.cleanupCap,
  };
}

/** The same of derived pictures. */
export function collectOptions(settings: Settings): Omit<CollectOptions, 'db'> {
  return { removedGraceSeconds: settings.variantGraceMs / 1000, cap: settings.cleanupCap };
}

/** The same of imports. */
export function tidyOptions(settings: Settings): Omit<TidyOptions, 'db'> {
  return { importsSeconds: settings.jobsKeptMs / 1000, cap: settings.cleanupCap };
}

/** How the store is compared with the rows. */
export function sweepOptions(
  settings: Settings,
  pair: { readonly db: Db; readonly blobs: BlobStore },
): SweepOptions {
  return {
    ...pair,
    graceSeconds: (settings.orphanGraceMs + settings.backupWindowMs) / 1000,
    quarantineSeconds: settings.quarantineMs / 1000,
    maxDeletes: settings.sweepMaxDeletes,
    brakePercent: settings.sweepBrakePercent,
    remedies,
  };
}

/** What `fsck` needs to know: what is under way has twice the time that those who see to it need. */
export function fsckOptions(
  settings: Settings,
  pair: { readonly db: Db; readonly blobs: BlobStore },
): FsckOptions {
  return {
    ...pair,
    bounds: {
      uploadStaleSeconds: settings.uploadStaleMs / 1000,
      uploadExpirySeconds: settings.uploadExpiryMs / 1000,
      slackSeconds: fsckSlackSeconds,
    },
    graceSeconds: (settings.orphanGraceMs + settings.backupWindowMs) / 1000,
    remedies,
  };
}

/** Milliseconds between two signs of life of an upload. */
export function heartbeatOf({ uploadStaleMs }: Settings): number {
  return Math.min(longestSilenceMs, uploadStaleMs / 3);
}

/** Where files may be imported from, and how slow their sources may be. */
export function outboundOf(settings: Settings): Outbound {
  const { uploadIdleTimeoutMs: idleTimeoutMs, uploadMinThroughput: minBytesPerSecond } = settings;
  return createOutbound({
    ports: settings.importPorts,
    allow: settings.importAllow,
    userAgent: `MediaBlobKit/${version}`,
    pace: { idleTimeoutMs, minBytesPerSecond },
    answerTimeoutMs: idleTimeoutMs,
  });
}
