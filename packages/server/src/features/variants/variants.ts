import { LRUCache } from 'lru-cache';

import type { Db } from '../../foundation/database/connect.js';
import type { Log } from '../../foundation/log.js';
import type { JobHandler, TimetableEntry } from '../../foundation/queue/define.js';
import { collectTimetable, createCollectHandler, type CollectOptions } from './collect.js';
import { renew } from './queries.js';
import { createRegenerateHandler } from './regenerate/job.js';
import { createRenderHandler, type RenderOptions } from './render.js';
import { requestVariant, type AdhocLimits } from './request.js';
import { createReviveHandler, reviveTimetable } from './revive.js';
import { createWaits, type Waits } from './waits.js';
import type { DerivableFile, PlannedVariant } from './wanted.js';

export type VariantsOptions = RenderOptions & CollectOptions;

export interface RequestsOptions {
  readonly db: Db;
  readonly log: Log;
  /** Requests that this process holds for variants at once; one more is answered `overloaded`. */
  readonly maxWaiters: number;
  readonly adhoc: AdhocLimits;
}

/** What the room gives to those above it. */
export interface VariantRequests {
  /** See `requestVariant`; requests of this process for the same picture within a second are one. */
  request(file: DerivableFile, name: string, wanted: PlannedVariant | undefined): Promise<void>;
  /** Tells that a transformation was asked for, which is to end at that time: it is kept for longer. */
  renew(file: DerivableFile, name: string, expiresAt: Date): void;
  readonly waits: Waits;
}

/** The part of the room that works in the background. */
export interface VariantsWork {
  readonly handlers: readonly JobHandler[];
  readonly timetable: readonly TimetableEntry[];
}

/** Milliseconds between two looks of waiting requests; well under what a render takes. */
const pollMs = 100;
/** Requests for one variant remembered, for how long. Shorter than the patience in request.ts. */
const remembered = { max: 10_000, ttl: 1000 };
/** Renewals remembered: one is written at most so often by a process, however often the picture is asked for. */
const renewed = { max: 10_000, ttl: 60_000 };

/** Makes and tends derived images. */
export function createVariantsWork(options: VariantsOptions): VariantsWork {
  return {
    handlers: [
      createRenderHandler(options),
      createReviveHandler(options),
      createRegenerateHandler(options),
      createCollectHandler(options),
    ],
    timetable: [reviveTimetable, collectTimetable],
  };
}

/** The part of the room that answers requests and renders nothing. */
export function createRequests({ db, log, maxWaiters, adhoc }: RequestsOptions): VariantRequests {
  const recent = new LRUCache<string, Promise<void>>(remembered);
  const renewals = new LRUCache<string, true>(renewed);
  return {
    waits: createWaits({ db, log, maxWaiters, pollMs }),
    request(file, name, wanted) {
      const key = `${file.id}/${name}/${wanted?.digest ?? ''}`;
      const known = recent.get(key);
      if (known) return known;
      const asked = requestVariant(db, file, name, wanted, adhoc);
      recent.set(key, asked);
      // A failure is told to those who asked now and forgotten for those who come later.
      asked.catch(() => recent.delete(key));
      return asked;
    },
    renew(file, name, expiresAt) {
      // Written once in half of its time, not for every look at it.
      const left = (expiresAt.getTime() - Date.now()) / 1000;
      const key = `${file.id}/${name}`;
      if (left > adhoc.keepSeconds / 2 || renewals.has(key)) return;
      renewals.set(key, true);
      renew(db, file, name, adhoc.keepSeconds).catch((error: unknown) => {
        renewals.delete(key);
        log.warn({ err: error, fileId: file.id }, 'could not keep a transformation for longer');
      });
    },
  };
}
