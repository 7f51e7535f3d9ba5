import { sql, type RawBuilder } from 'kysely';

import { lanes, type Lane } from './define.js';

/** Number of a lane in the tables; lower ones are claimed first. */
export function laneNumber(lane: Lane): number {
  return lanes.indexOf(lane);
}

/** Stands for "no project" where an index needs a value: the installation's own jobs share one turn. */
const nobody = sql.lit('00000000-0000-0000-0000-000000000000');

/** The key under which a project's turns are counted; the same expression as the index's. */
export function shareOf(projectId: RawBuilder<unknown>): RawBuilder<string> {
  return sql<string>`coalesce(${projectId}, ${nobody})`;
}

/**
 * The turn at which a lane stands: that of its first waiting job. Nothing that comes in is placed before it,
 * or a project that joins late would be given everything it did not ask for in the past.
 */
export function presentTurn(lane: RawBuilder<unknown>): RawBuilder<number> {
  return sql<number>`coalesce((
    SELECT turn FROM waiting_jobs WHERE lane = ${lane} AND turn IS NOT NULL ORDER BY turn LIMIT 1
  ), 1)`;
}

/**
 * The turn of a project's next job in a lane: one after its last waiting one, never before the present one
 * (start-time fair queuing, Goyal 1996). Jobs are claimed in the order of their turns, so projects alternate
 * while the claim stays one ordered index scan; the price is two index look-ups at enqueue. Five thousand jobs
 * of one project stand in turns 1 to 5,000, and the first job of another shares the present turn.
 *
 * Takes no lock: a row that counted a project's turns would tie all enqueuing transactions of the project to one
 * another and could deadlock with their other locks. Transactions that enqueue at the same instant do not see one
 * another and may share a turn; a project gets ahead by at most as many jobs as it enqueues simultaneously.
 */
export function nextTurn(lane: RawBuilder<unknown>, share: RawBuilder<unknown>): RawBuilder<number> {
  return sql<number>`greatest(${presentTurn(lane)}, 1 + coalesce((
    SELECT turn FROM waiting_jobs
    WHERE ${shareOf(sql.ref('project_id'))} = ${share} AND lane = ${lane} AND turn IS NOT NULL
    ORDER BY turn DESC LIMIT 1
  ), 0))`;
}
