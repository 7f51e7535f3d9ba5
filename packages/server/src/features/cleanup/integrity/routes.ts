import Type from 'typebox';

import type { Db } from '../../../foundation/database/connect.js';
import type { Routes } from '../../../foundation/http/app.js';
import { Problem } from '../../../foundation/problems.js';
import { findFile } from '../../files/queries.js';
import { variantIntegrities } from './check-queries.js';

const facts = {
  integrity: Type.String({
    enum: ['unchecked', 'ok', 'missing', 'corrupt'],
    description: 'What the last comparison of the stored bytes with size and SHA-256 has shown.',
  }),
  checkedAt: Type.Union([
    Type.String({ format: 'date-time', description: 'When that was; null: never.' }),
    Type.Null(),
  ]),
  size: Type.Union([Type.Integer({ description: 'Bytes.' }), Type.Null()]),
  sha256: Type.Union([Type.String({ description: 'Hexadecimal.' }), Type.Null()]),
};

const IntegrityView = Type.Object({
  ...facts,
  variants: Type.Record(Type.String(), Type.Object({ ...facts, status: Type.String() })),
});

/** `GET /files/:id/integrity`: what is known of a file's bytes. */
export function integrityRoutes({ db }: { readonly db: Db }): Routes {
  return (app) => {
    app.get(
      '/files/:id/integrity',
      {
        config: { permission: 'files:read' },
        schema: {
          operationId: 'getFileIntegrity',
          summary: 'Read what the integrity check knows of a file’s bytes and those of its variants',
          description:
            'All bytes are read again and again (`MBK_INTEGRITY_BYTES_PER_DAY`). Variants that are lost are rendered again; an original that is lost is reported here.',
          tags: ['files'],
          params: Type.Object({ id: Type.String() }),
          response: { 200: IntegrityView },
        },
      },
      async (request) => {
        const { projectId, fileId } = request.access;
        const file = await findFile(db, projectId, fileId);
        // Deleted since the guard looked.
        if (!file) throw new Problem('not-found');
        const variants = await variantIntegrities(db, projectId, fileId);
        return {
          ...factsOf({ ...file, checkedAt: file.integrity_checked_at }),
          variants: Object.fromEntries(
            variants.map((variant) => [variant.name, { ...factsOf(variant), status: variant.status }]),
          ),
        };
      },
    );
  };
}

function factsOf({
  integrity,
  checkedAt,
  size,
  sha256,
}: {
  readonly integrity: string;
  readonly checkedAt: Date | null;
  readonly size: number | null;
  readonly sha256: Buffer | null;
}) {
  return {
    integrity,
    checkedAt: checkedAt?.toISOString() ?? null,
    size,
    sha256: sha256?.toString('hex') ?? null,
  };
}
