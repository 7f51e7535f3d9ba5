import { sql, type Selectable } from 'kysely';

import type { Db, Tx } from '../../../foundation/database/connect.js';
import type { SweepFindings } from '../../../foundation/database/tables.js';

export type FindingKind = 'orphan' | 'missing' | 'foreign' | 'unfinished';
export type Outcome = 'quarantined' | 'dropped' | 'mended' | 'marked' | 'gone' | 'failed';
export type FindingRow = Selectable<SweepFindings>;

/** Something that rows and store do not agree on. */
export interface Finding {
  readonly kind: FindingKind;
  readonly key: string;
  /** Of an unfinished put in parts. */
  readonly uploadId?: string;
  readonly projectId: string | null;
  readonly fileId?: string;
  /** Of a variant's blob. */
  readonly variant?: string | null;
  /** Bytes; null where the store does not say. */
  readonly size: number | null;
  /** By the store's clock; null for what is not there. */
  readonly modifiedAt: Date | null;
  /** As a clause for a person. */
  readonly why: string;
}

/** Keeps findings of a sweep; one that is kept already stays as it is. */
export async function keepFindings(tx: Tx, sweepId: string, findings: readonly Finding[]): Promise<void> {
  if (findings.length === 0) return;
  await tx
    .insertInto('sweep_findings')
    .values(
      findings.map((finding) => ({
        sweep_id: sweepId,
        kind: finding.kind,
        key: finding.key,
        upload_id: finding.uploadId ?? '',
        project_id: finding.projectId,
        file_id: finding.fileId ?? null,
        variant: finding.variant ?? null,
        size: finding.size,
        modified_at: finding.modifiedAt,
        why: finding.why,
      })),
    )
    .onConflict((conflict) => conflict.doNothing())
    .execute();
}

/** Findings of one kind about which nothing has been done yet, the first by their keys behind `after`. */
export async function openFindings(
  db: Db,
  sweepId: string,
  kind: FindingKind,
  after: Pick<FindingRow, 'key' | 'upload_id'>,
  limit: number,
): Promise<readonly FindingRow[]> {
  return db
    .selectFrom('sweep_findings')
    .selectAll()
    .where('sweep_id', '=', sweepId)
    .where('kind', '=', kind)
    .where('outcome', 'is', null)
    .where((eb) => eb(eb.refTuple('key', 'upload_id'), '>', eb.tuple(after.key, after.upload_id)))
    .orderBy('key')
    .orderBy('upload_id')
    .limit(limit)
    .execute();
}

/** Says what was done about a finding. */
export async function settleFinding(
  db: Db | Tx,
  { sweep_id, kind, key, upload_id }: FindingRow,
  outcome: Outcome,
  detail?: string,
): Promise<void> {
  await db
    .updateTable('sweep_findings')
    .set({ outcome, detail: detail?.slice(0, 1000) ?? null })
    .where('sweep_id', '=', sweep_id)
    .where('kind', '=', kind)
    .where('key', '=', key)
    .where('upload_id', '=', upload_id)
    .execute();
}

/** Everything that is kept of a sweep, by kind and key. */
export async function* findingsOf(
  db: Db,
  sweepId: string,
): AsyncGenerator<FindingRow & { readonly ageSeconds: number | null }> {
  let after = { kind: '', key: '', upload_id: '' };
  for (;;) {
    const page = await db
      .selectFrom('sweep_findings')
      .selectAll()
      .select(sql<number | null>`extract(epoch from now() - modified_at)::float8`.as('ageSeconds'))
      .where('sweep_id', '=', sweepId)
      .where((eb) =>
        eb(eb.refTuple('kind', 'key', 'upload_id'), '>', eb.tuple(after.kind, after.key, after.upload_id)),
      )
      .orderBy('kind')
      .orderBy('key')
      .orderBy('upload_id')
      .limit(pageRows)
      .execute();
    yield* page;
    const last = page.at(-1);
    if (last === undefined || page.length < pageRows) return;
    after = last;
  }
}

const pageRows = 500;
