import { sql, type RawBuilder, type Selectable } from 'kysely';

import type { Db, Tx } from '../../../foundation/database/connect.js';
import type { Sweeps } from '../../../foundation/database/tables.js';
import { newId } from '../../../foundation/ids.js';
import { inTransaction } from '../../projects/queries.js';

/** How a sweep stands, or how it ended. */
export type SweepRow = Selectable<Sweeps>;

/** dry-run changes nothing; report mends rows and brings back blobs; delete also moves and removes blobs. */
export type SweepMode = 'dry-run' | 'report' | 'delete';

/** What a sweep counts. */
export type Counter =
  | 'blobs_seen'
  | 'bytes_seen'
  | 'rows_seen'
  | 'orphans'
  | 'orphan_bytes'
  | 'missing'
  | 'foreign_objects'
  | 'unfinished_puts'
  | 'quarantined'
  | 'dropped_puts'
  | 'restored'
  | 'removed'
  | 'mended'
  | 'vanished'
  | 'failures';
export type Counts = Partial<Record<Counter, number>>;

/** Another process has taken the sweep over, or ended it; what this one does must not count. */
export class SweepLost extends Error {
  override readonly name = 'SweepLost';
}

export interface SweepWish {
  readonly mode: SweepMode;
  /** Only keys of this project; null: the whole store. */
  readonly projectId: string | null;
  /** Who asks: the job, or one run of the command. It gets its own sweep back at once, after a crash. */
  readonly holder: string;
  readonly leaseSeconds: number;
}

/** An unfinished sweep that nobody has touched for longer tells of a store that is no more. */
const resumableSeconds = 24 * 60 * 60;

/**
 * Begins a sweep, or continues one of the same kind that was broken off; one of another kind is abandoned.
 * @returns the sweep, held under a new token; or until when somebody else holds one.
 */
export async function takeSweep(
  db: Db,
  { mode, projectId, holder, leaseSeconds }: SweepWish,
): Promise<SweepRow | { readonly heldUntil: Date }> {
  const hold = { holder, token: newId(), held_until: inSeconds(leaseSeconds), updated_at: now };
  return inTransaction(db, async (tx) => {
    const open = await tx
      .selectFrom('sweeps')
      .selectAll()
      .select(sql<boolean>`held_until > now()`.as('held'))
      .select(sql<boolean>`updated_at > now() - make_interval(secs => ${resumableSeconds})`.as('fresh'))
      .where('finished_at', 'is', null)
      .forUpdate()
      .executeTakeFirst();
    if (open?.held && open.holder !== holder) return { heldUntil: open.held_until };
    if (open?.fresh && open.mode === mode && open.project_id === projectId) {
      return tx
        .updateTable('sweeps')
        .set(hold)
        .where('id', '=', open.id)
        .returningAll()
        .executeTakeFirstOrThrow();
    }
    if (open) await endRow(tx, open.id, { status: 'abandoned', refusal: 'another sweep was begun' });
    const begun = await tx
      .insertInto('sweeps')
      .values({ id: newId(), mode, project_id: projectId, ...hold })
      .onConflict((conflict) => conflict.doNothing())
      .returningAll()
      .executeTakeFirst();
    if (begun) return begun;
    // Somebody began one in this very moment.
    const { held_until: heldUntil } = await tx
      .selectFrom('sweeps')
      .select('held_until')
      .where('finished_at', 'is', null)
      .executeTakeFirstOrThrow();
    return { heldUntil };
  });
}

/** A sweep in the hands of one process. */
export type HeldSweep = Pick<SweepRow, 'id' | 'token'>;

/** @throws SweepLost */
export async function renewSweep(db: Db, sweep: HeldSweep, leaseSeconds: number): Promise<void> {
  const { numUpdatedRows } = await held(db, sweep)
    .set({ held_until: inSeconds(leaseSeconds) })
    .executeTakeFirst();
  assertHeld(numUpdatedRows);
}

/** Lets go of a sweep that was broken off, so that whoever comes next continues it at once. */
export async function releaseSweep(db: Db, sweep: HeldSweep): Promise<void> {
  await held(db, sweep).set({ held_until: now }).execute();
}

export interface Progress {
  readonly counts?: Counts;
  /** The last key that was judged. */
  readonly position?: string;
  readonly status?: 'cleaning';
  readonly refusal?: string | null;
}

/** Adds to a sweep's counters and moves it on. @throws SweepLost */
export async function advanceSweep(
  db: Db | Tx,
  sweep: HeldSweep,
  { counts = {}, ...progress }: Progress,
): Promise<void> {
  const added: Record<string, RawBuilder<number>> = {};
  for (const [name, by] of Object.entries(counts)) {
    added[name] = sql<number>`${sql.ref(name)} + ${by}::bigint`;
  }
  const { numUpdatedRows } = await held(db, sweep)
    .set({ ...progress, ...added, updated_at: now })
    .executeTakeFirst();
  assertHeld(numUpdatedRows);
}

/** Ends a sweep; older ones lose what they found, and the oldest are forgotten. @throws SweepLost */
export async function endSweep(
  db: Db,
  sweep: HeldSweep,
  end: { readonly status: 'finished' | 'failed'; readonly refusal?: string },
): Promise<SweepRow> {
  return inTransaction(db, async (tx) => {
    const { numUpdatedRows } = await held(tx, sweep).set({ updated_at: now }).executeTakeFirst();
    assertHeld(numUpdatedRows);
    const row = await endRow(tx, sweep.id, end);
    if (end.status === 'finished') {
      // What a sweep of the whole store has found stays until the next of that kind.
      const outdated = tx.selectFrom('sweeps').select('id').where('id', '<>', sweep.id);
      await tx
        .deleteFrom('sweep_findings')
        .where(
          'sweep_id',
          'in',
          row.project_id === null ? outdated : outdated.where('project_id', 'is not', null),
        )
        .execute();
    }
    await tx
      .deleteFrom('sweeps')
      .where('id', 'in', (eb) =>
        eb
          .selectFrom('sweeps')
          .select('id')
          .where('finished_at', 'is not', null)
          .orderBy('finished_at', 'desc')
          .offset(rememberedSweeps),
      )
      .execute();
    return row;
  });
}

/** Ended sweeps whose numbers are kept. */
const rememberedSweeps = 30;

/** The sweep of the whole store that finished last, and whose findings are kept. */
export async function lastSweep(db: Db): Promise<SweepRow | undefined> {
  return db
    .selectFrom('sweeps')
    .selectAll()
    .where('status', '=', 'finished')
    .where('project_id', 'is', null)
    .where('finished_at', 'is not', null)
    .orderBy('finished_at', 'desc')
    .limit(1)
    .executeTakeFirst();
}

/** How a sweep stands now. */
export async function findSweep(db: Db | Tx, id: string): Promise<SweepRow> {
  return db.selectFrom('sweeps').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
}

const now = sql<Date>`now()`;

function inSeconds(seconds: number) {
  return sql<Date>`now() + make_interval(secs => ${seconds}::float8)`;
}

/** The row, as long as the token is that of its present holder. */
function held(db: Db | Tx, { id, token }: HeldSweep) {
  return db
    .updateTable('sweeps')
    .where('id', '=', id)
    .where('token', '=', token)
    .where('finished_at', 'is', null);
}

function assertHeld(updated: bigint): void {
  if (updated === 0n) throw new SweepLost('another process has taken the sweep over');
}

async function endRow(
  tx: Tx,
  id: string,
  end: { readonly status: 'finished' | 'failed' | 'abandoned'; readonly refusal?: string },
): Promise<SweepRow> {
  return tx
    .updateTable('sweeps')
    .set({ ...end, finished_at: now, updated_at: now })
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirstOrThrow();
}
