import type { Db, Tx } from '../../foundation/database/connect.js';
import { Problem } from '../../foundation/problems.js';
import type { KeyRules } from './queries.js';

/** What a key may bring, on every way in. */
export type UploadRules = Pick<KeyRules, 'maxFileBytes' | 'allowedTypes'>;

/**
 * The rules of the key that brings, or has brought, an upload. A revoked key's rules hold on for what it has begun.
 * @param keyId undefined or null when no key brings it: then there are none.
 */
export async function findUploadRules(
  db: Db | Tx,
  projectId: string,
  keyId: string | null | undefined,
): Promise<UploadRules | undefined> {
  if (keyId === null || keyId === undefined) return undefined;
  const row = await db
    .selectFrom('api_keys')
    .select(['max_file_bytes as maxFileBytes', 'allowed_types as allowedTypes'])
    .where('project_id', '=', projectId)
    .where('id', '=', keyId)
    .executeTakeFirst();
  return row;
}

/**
 * Lets one more file of the key in, in the transaction that writes its row. Keys with a limit take turns, so that
 * exactly so many fit however many come at once. First in its transaction: before the project's counter.
 * @throws Problem `quota-exceeded`.
 */
export async function claimPlace(tx: Tx, projectId: string, keyId: string | undefined): Promise<void> {
  if (keyId === undefined) return;
  const key = tx
    .selectFrom('api_keys')
    .select('max_files')
    .where('project_id', '=', projectId)
    .where('id', '=', keyId);
  const limit = (await key.executeTakeFirst())?.max_files ?? null;
  if (limit === null) return;
  await key.forNoKeyUpdate().execute();
  const { held } = await tx
    .selectNoFrom((eb) => [
      eb(
        eb
          .selectFrom('files')
          .select((of) => of.fn.countAll<number>().as('count'))
          .where('created_by_key', '=', keyId)
          .where('status', '<>', 'aborted')
          .$asScalar(),
        '+',
        eb
          .selectFrom('uploads')
          .select((of) => of.fn.countAll<number>().as('count'))
          .where('created_by_key', '=', keyId)
          .where('status', 'in', ['open', 'completing'])
          .$asScalar(),
      ).as('held'),
    ])
    .executeTakeFirstOrThrow();
  if (held >= limit) {
    throw new Problem('quota-exceeded', {
      detail: `This API key may hold ${limit} files.`,
      limit,
      actual: held + 1,
    });
  }
}
