import Type, { type Static, type TSchema } from 'typebox';

import type { Db } from '../../../foundation/database/connect.js';
import { acknowledgedOf } from '../../files/intake-queries.js';
import type { PresentFiles } from '../../files/present.js';
import type { ImportRow } from './queries.js';

const nullable = <S extends TSchema>(schema: S) => Type.Union([schema, Type.Null()]);
const moment = Type.String({ format: 'date-time' });

/** An import as the API shows it. */
export function importViewSchema(fileViewSchema: TSchema) {
  return Type.Object({
    id: Type.String(),
    projectId: Type.String(),
    status: Type.String({
      enum: ['waiting', 'running', 'completed', 'failed'],
      description: '`waiting`: for a worker, or for another attempt after a failure that may pass.',
    }),
    url: Type.String({ description: 'Without query and fragment, which may hold secrets.' }),
    receivedBytes: Type.Integer({ description: 'Of the attempt under way; written once a second.' }),
    totalBytes: nullable(Type.Integer({ description: 'As the source promises.' })),
    file: nullable(fileViewSchema),
    failure: nullable(
      Type.Object({
        code: Type.String({
          description: 'Of a problem: `import-refused`, `import-failed`, `file-too-large`, …',
        }),
        detail: Type.String(),
      }),
    ),
    createdAt: moment,
    updatedAt: moment,
  });
}
export type ImportView = Static<ReturnType<typeof importViewSchema>>;

/** Makes the views of some imports of one project, in their order. */
export async function presentImports(
  { db, present }: { readonly db: Db; readonly present: PresentFiles },
  projectId: string,
  rows: readonly ImportRow[],
): Promise<ImportView[]> {
  const ids = rows.flatMap((row) => row.file_id ?? []);
  const files = ids.length === 0 ? [] : await acknowledgedOf(db, projectId, ids);
  // In the trash, a file is hidden on every path.
  const visible = files.filter((file) => file.deleted_at === null);
  const views = visible.length === 0 ? [] : await present(projectId, visible);
  const viewOf = new Map(visible.map(({ id }, at) => [id, views[at] ?? null]));
  return rows.map((row) => ({
    id: row.id,
    projectId: row.project_id,
    status: row.status,
    url: row.shown_url,
    receivedBytes: row.received_bytes,
    totalBytes: row.total_bytes,
    file: row.file_id === null ? null : (viewOf.get(row.file_id) ?? null),
    failure: row.status === 'failed' ? { code: row.failure_code ?? '', detail: row.failure ?? '' } : null,
    createdAt: row.created_at.toISOString(),
    updatedAt: row.updated_at.toISOString(),
  }));
}
