import { LRUCache } from 'lru-cache';

import type { Db } from '../../foundation/database/connect.js';
import type { JobHandler, TimetableEntry } from '../../foundation/queue/define.js';
import type { ProjectSettings } from '../projects/settings.js';
import type { PlannableFile } from './plan.js';
import { createRenderHandler, type RenderOptions } from './render.js';
import { requestVariant } from './request.js';
import { createReviveHandler, reviveTimetable } from './revive.js';
import { createWaits, type Waits } from './waits.js';

export interface VariantsOptions extends RenderOptions {
  /** Requests that this process holds for variants at once; one more is answered `overloaded`. */
  readonly maxWaiters: number;
}

/** What the room gives to those above it. */
export interface VariantRequests {
  /** See `requestVariant`; requests of this process for the same variant within a second are one. */
  request(file: PlannableFile, name: string, settings: ProjectSettings): Promise<void>;
  readonly waits: Waits;
}

export interface VariantsRoom extends VariantRequests {
  readonly handlers: readonly JobHandler[];
  readonly timetable: readonly TimetableEntry[];
}

/** Milliseconds between two looks of waiting requests; well under what a render takes. */
const pollMs = 100;
/** Requests for one variant remembered, for how long. Shorter than the patience in request.ts. */
const remembered = { max: 10_000, ttl: 1000 };

/** Builds the room of derived images. */
export function createVariants(options: VariantsOptions): VariantsRoom {
  const { db, log, maxWaiters } = options;
  return {
    ...createRequests({ db, log, maxWaiters }),
    handlers: [createRenderHandler(options), createReviveHandler(options)],
    timetable: [reviveTimetable],
  };
}

/** The part that answers requests and renders nothing. */
export function createRequests({
  db,
  log,
  maxWaiters,
}: Pick<VariantsOptions, 'log' | 'maxWaiters'> & { readonly db: Db }): VariantRequests {
  const recent = new LRUCache<string, Promise<void>>(remembered);
  return {
    waits: createWaits({ db, log, maxWaiters, pollMs }),
    request(file, name, settings) {
      const key = `${file.id}/${name}`;
      const known = recent.get(key);
      if (known) return known;
      const asked = requestVariant(db, file, name, settings);
      recent.set(key, asked);
      // A failure is told to those who asked now and forgotten for those who come later.
      asked.catch(() => recent.delete(key));
      return asked;
    },
  };
}
