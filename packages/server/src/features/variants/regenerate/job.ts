import Type from 'typebox';

import type { Db, Tx } from '../../../foundation/database/connect.js';
import { defineJob, handle, type JobContext, type JobHandler } from '../../../foundation/queue/define.js';
import { newId } from '../../../foundation/ids.js';
import { enqueue } from '../../../foundation/queue/enqueue.js';
import { countOpen } from '../../../foundation/queue/observe.js';
import { findProject } from '../../projects/queries.js';
import { renderVariants } from '../job.js';
import type { Selection } from './choose.js';
import { planAnew } from './plan-anew.js';
import {
  countFiles,
  endRegeneration,
  filesAfter,
  findRegeneration,
  insertRegeneration,
  keepStep,
  type NewRegeneration,
  type RegenerationRow,
  type Step,
} from './queries.js';

/** One step of a walk over a project's files; each step orders the next. */
export const regenerateVariants = defineJob({
  name: 'regenerate-variants',
  payload: Type.Object({ regenerationId: Type.String() }),
  lane: 'background',
  attempts: 5,
  timeoutSeconds: 120,
});

/** Orders a walk over a project's files. */
export async function orderRegeneration(
  tx: Tx,
  order: Omit<NewRegeneration, 'id'>,
): Promise<RegenerationRow> {
  const row = await insertRegeneration(tx, { id: newId(), ...order });
  await enqueue(tx, regenerateVariants, { regenerationId: row.id }, { projectId: order.projectId });
  return row;
}

/** Files of one step, which is one transaction. */
const filesOfStep = 50;
/** Renders that one project may have waiting in the background: a walk over a million files does not fill the queue. */
const maxOpen = 200;
/** Seconds until the next look when there is nothing to do but to wait. */
const waitSeconds = 1;
/** A render that was under way when the settings changed leaves its file stale; the next pass finds it. */
const maxPasses = 3;

/**
 * Walks over the files of a project and has their variants made anew in the lane that waits for everybody. The settings
 * are read anew in each step, so a change on the way counts from there on.
 */
export function createRegenerateHandler({ db }: { readonly db: Db }): JobHandler {
  return handle(
    regenerateVariants,
    (context) => step(db, context),
    async (tx, { payload, projectId }) => {
      if (projectId !== null) await endRegeneration(tx, { projectId, id: payload.regenerationId }, 'failed');
    },
  );
}

async function step(db: Db, context: JobContext<typeof regenerateVariants.payload>): Promise<void> {
  const { projectId, payload } = context;
  if (projectId === null) throw new TypeError('a regeneration belongs to a project');
  const walk = await findRegeneration(db, projectId, payload.regenerationId);
  if (walk?.status !== 'running') return;
  const project = await findProject(db, projectId);
  if (!project) {
    await context.finish((tx) => endRegeneration(tx, { projectId, id: walk.id }, 'cancelled'));
    return;
  }
  const open = await countOpen(db, { kind: renderVariants.name, projectId, lane: 'background' }, maxOpen);
  const here: Step = { ...stepOf(walk), jobsOpen: open };
  const next = (now: Step, afterSeconds?: number) =>
    context.finish(async (tx) => {
      await keepStep(tx, walk, now);
      await enqueue(tx, regenerateVariants, payload, { projectId, afterSeconds });
    });
  if (open >= maxOpen) return next(here, waitSeconds);

  const files = await filesAfter(db, walk, walk.after_id, filesOfStep);
  const last = files.at(-1);
  if (last === undefined) {
    if (open > 0) return next(here, waitSeconds);
    if (walk.which === 'stale' && walk.planned_in_pass > 0 && walk.pass < maxPasses) {
      return next({ ...here, afterId: null, pass: walk.pass + 1, plannedInPass: 0 });
    }
    await context.finish((tx) => endRegeneration(tx, { projectId, id: walk.id }, 'completed'));
    context.log.info({ regenerationId: walk.id, variants: walk.variants_planned }, 'variants made anew');
    return;
  }
  const filesTotal = walk.files_total ?? (await countFiles(db, walk));
  await context.finish(async (tx) => {
    let planned = 0;
    for (const fileId of files) {
      planned += await planAnew(tx, { projectId, fileId }, project.settings, {
        // The column's constraint names the same words.
        which: walk.which as Selection,
        names: walk.names ?? undefined,
        lane: 'background',
      });
    }
    await keepStep(tx, walk, {
      ...here,
      afterId: last,
      plannedInPass: here.plannedInPass + planned,
      filesSeen: here.filesSeen + (walk.pass === 1 ? files.length : 0),
      variantsPlanned: here.variantsPlanned + planned,
      jobsOpen: open + planned,
      filesTotal,
    });
    await enqueue(tx, regenerateVariants, payload, { projectId });
  });
}

function stepOf(walk: RegenerationRow): Step {
  return {
    afterId: walk.after_id,
    pass: walk.pass,
    plannedInPass: walk.planned_in_pass,
    filesSeen: walk.files_seen,
    variantsPlanned: walk.variants_planned,
    jobsOpen: walk.jobs_open,
  };
}
