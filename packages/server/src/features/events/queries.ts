import { sql } from 'kysely';

import type { Db, Tx } from '../../foundation/database/connect.js';
import { newId } from '../../foundation/ids.js';

/** Everything that is told of. */
export const eventTypes = [
  'file.uploaded',
  'file.ready',
  'file.failed',
  'file.trashed',
  'file.restored',
  'file.purged',
  'file.damaged',
  'project.trashed',
  'project.restored',
  'project.purged',
] as const;
export type EventType = (typeof eventTypes)[number];

export interface NewEvent {
  readonly projectId: string;
  readonly type: EventType;
  /** The file or project it is about. */
  readonly subjectId: string;
  /** Without secrets and without keys of the store. */
  readonly data?: Readonly<Record<string, unknown>>;
}

/** Writes what happens into the outbox, in the transaction that makes it happen: never told of what is rolled back. */
export async function recordEvents(tx: Tx, events: readonly NewEvent[]): Promise<void> {
  if (events.length === 0) return;
  await tx
    .insertInto('events')
    .values(
      events.map(({ projectId, type, subjectId, data }) => ({
        id: newId(),
        project_id: projectId,
        type,
        subject_id: subjectId,
        ...(data ? { data: JSON.stringify(data) } : {}),
      })),
    )
    .execute();
}

/**
 * Forgets up to `limit` events: delivered ones after an hour, others after `olderThanSeconds`.
 * @returns how many.
 */
export async function forgetEvents(db: Db, olderThanSeconds: number, limit: number): Promise<number> {
  const { numDeletedRows } = await db
    .deleteFrom('events')
    .where('id', 'in', oldEvents(db, olderThanSeconds).limit(limit).forUpdate().skipLocked())
    .executeTakeFirst();
  return Number(numDeletedRows);
}

/** Events that were delivered an hour ago, and those that nobody has taken for so many seconds. */
export function oldEvents(db: Db, olderThanSeconds: number) {
  return db
    .selectFrom('events')
    .select('id')
    .where('created_at', '<', sql<Date>`now() - interval '1 hour'`)
    .where((or) =>
      or.or([
        or('delivered_at', 'is not', null),
        or('created_at', '<', sql<Date>`now() - make_interval(secs => ${olderThanSeconds}::float8)`),
      ]),
    );
}
