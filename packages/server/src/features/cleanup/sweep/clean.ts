import pLimit from 'p-limit';

import { inTransaction } from '../../projects/queries.js';
import { noteDamage, type Remedies } from '../integrity/damage.js';
import { openFindings, settleFinding, type FindingRow, type Outcome } from './finding-queries.js';
import { isPutNamed } from './name-queries.js';
import { quarantineBlob, type QuarantineOptions } from './quarantine.js';
import { advanceSweep, type Counts, type SweepRow } from './state-queries.js';

export interface CleanOptions extends QuarantineOptions {
  readonly sweep: SweepRow;
  readonly remedies: Remedies;
}

/** What came of one finding; `left`: nothing, it stays open. */
interface Settled {
  readonly outcome: Outcome | 'left';
  readonly detail?: string;
}

/** Findings of one page, and those of them that are worked on at once. */
const pageFindings = 100;
const parallel = 8;

const counterOf: Readonly<Record<Outcome, keyof Counts | undefined>> = {
  quarantined: 'quarantined',
  dropped: 'dropped_puts',
  mended: 'mended',
  marked: undefined,
  gone: 'vanished',
  failed: 'failures',
};

/**
 * Marks originals that are lost and has variants that are lost rendered again. Originals first: a variant is not
 * rendered from nothing.
 */
export async function mendMissing(options: CleanOptions): Promise<void> {
  for (const wanted of ['original', 'variant'] as const) {
    await eachFinding(options, 'missing', Number.POSITIVE_INFINITY, async (finding): Promise<Settled> => {
      const { key, project_id: projectId, file_id: fileId, variant } = finding;
      if ((variant === null) !== (wanted === 'original') || projectId === null || fileId === null) {
        return { outcome: 'left' };
      }
      if (await options.blobs.stat(key)) return { outcome: 'gone' };
      const remedy = await noteDamage(
        options.db,
        options.remedies,
        { key, projectId, fileId, variant },
        'missing',
      );
      return { outcome: remedy };
    });
  }
}

/** Moves blobs without rows into quarantine, `cap` of them at most. */
export async function quarantineOrphans(options: CleanOptions, cap: number): Promise<void> {
  await eachFinding(options, 'orphan', cap, async (finding) => ({
    outcome: await quarantineBlob(options, {
      key: finding.key,
      projectId: finding.project_id,
      size: finding.size ?? 0,
      modifiedAt: finding.modified_at,
    }),
  }));
}

/** Drops puts in parts that nobody goes on with, `cap` of them at most. */
export async function dropUnfinished(options: CleanOptions, cap: number): Promise<void> {
  const { db, blobs } = options;
  await eachFinding(
    options,
    'unfinished',
    cap,
    async ({ key, upload_id: uploadId, modified_at: begunAt }) => {
      if (await isPutNamed(db, { key, uploadId, begunAt: begunAt ?? new Date(0) }))
        return { outcome: 'gone' };
      await blobs.multipart.abort(key, uploadId);
      return { outcome: 'dropped' };
    },
  );
}

/** Works through the open findings of a kind; what fails says so in its row and keeps no other from its turn. */
async function eachFinding(
  { db, sweep, signal }: CleanOptions,
  kind: 'orphan' | 'missing' | 'unfinished',
  cap: number,
  work: (finding: FindingRow) => Promise<Settled>,
): Promise<void> {
  const limit = pLimit(parallel);
  let after = { key: '', upload_id: '' };
  for (let taken = 0; taken < cap;) {
    signal.throwIfAborted();
    const page = await openFindings(db, sweep.id, kind, after, Math.min(pageFindings, cap - taken));
    if (page.length === 0) return;
    taken += page.length;
    const settled = await Promise.all(
      page.map((finding) => limit(async () => ({ finding, ...(await settle(finding, work)) }))),
    );
    signal.throwIfAborted();
    await inTransaction(db, async (tx) => {
      const counts: Counts = {};
      for (const { finding, outcome, detail } of settled) {
        if (outcome === 'left') continue;
        const counter = counterOf[outcome];
        if (counter) counts[counter] = (counts[counter] ?? 0) + 1;
        await settleFinding(tx, finding, outcome, detail);
      }
      await advanceSweep(tx, sweep, { counts });
    });
    const last = page.at(-1);
    if (last) after = { key: last.key, upload_id: last.upload_id };
  }
}

async function settle(
  finding: FindingRow,
  work: (finding: FindingRow) => Promise<Settled>,
): Promise<Settled> {
  try {
    return await work(finding);
  } catch (error) {
    return { outcome: 'failed', detail: error instanceof Error ? error.message : String(error) };
  }
}
