import type { Db, Tx } from '../../foundation/database/connect.js';
import { variantKey } from '../../foundation/blobs/keys.js';
import type { Recipe } from '../../foundation/imaging/recipe.js';
import { recordEvents } from '../events/queries.js';
import { bury } from '../files/queries.js';
import { failure, isHarmless, type Failure } from './failures.js';
import type { ImageProcessingJob } from './job.js';
import {
  abandonAttempt,
  beginAttempt,
  countVariantBytes,
  failVariant,
  finishAttempt,
  lockFile,
  lockVariants,
  settleFile,
  type FileFacts,
  type LockedVariant,
  type MadeVariant,
  type VariantFile,
} from './attempt-queries.js';
import { extensionOf } from './recipes.js';
import { digestFor, wishName } from './wanted.js';

/** One variant that an attempt makes, and the key it alone writes. */
export interface ClaimedVariant {
  readonly name: string;
  readonly recipe: Recipe;
  readonly digest: string;
  readonly key: string;
}

export interface Claim {
  readonly file: VariantFile;
  readonly variants: readonly ClaimedVariant[];
}

/**
 * An attempt that holds a variant for longer than this is taken for lost even by a job that never met it; four
 * times the time limit of an attempt (job.ts), so a living one is never disturbed.
 */
export const abandonedSeconds = 1200;

/**
 * Takes the variants that the job asks for and nobody has made or is making, and gives each a key of its own.
 * The row is the lock: of two jobs for one variant the second finds it held and has nothing to do.
 *
 * A first attempt leaves held variants alone: their holder will finish, or its own queue entry brings it back. A
 * later attempt takes them over, since the holder is most likely its predecessor that was killed; should that
 * one still be alive, it writes a key that no longer counts.
 */
export async function claimVariants(
  db: Db,
  job: ImageProcessingJob,
  projectId: string,
  { attempt, maxWriteSeconds }: { readonly attempt: number; readonly maxWriteSeconds: number },
): Promise<Claim | undefined> {
  return db.transaction().execute(async (tx) => {
    const file = await lockFile(tx, projectId, job.fileId);
    if (!file) return undefined;
    const rows = await lockVariants(tx, projectId, job.fileId);
    const deleted = file.deleted_at !== null || file.projectDeleted;
    const variants: ClaimedVariant[] = [];
    for (const row of rows) {
      const recipe = recipeFor(job, row.name);
      if (!recipe) continue;
      const digest = digestFor(recipe, file);
      if (row.status === 'ready' && row.recipe_digest === digest) continue;
      // Another recipe has been planned since; that one's own job makes it.
      if (row.wanted_digest !== null && row.wanted_digest !== digest) continue;
      if (row.pending_key !== null) {
        if (attempt === 1 && row.silentSeconds < abandonedSeconds) continue;
        await buryAttempt(tx, row, maxWriteSeconds);
      }
      if (deleted) {
        await failVariant(tx, row, failure('file-deleted'));
        continue;
      }
      const generation = nextGeneration(row, rows);
      const key = variantKey(projectId, row.name, job.fileId, extensionOf(recipe), generation);
      await beginAttempt(tx, row, { generation, key });
      variants.push({ name: row.name, recipe, digest, key });
    }
    if (variants.length > 0) return { file, variants };
    // Nothing to make. The file may still wait for exactly that to be said: of a deleted one, above all.
    await settle(tx, file, await lockVariants(tx, projectId, job.fileId));
    return undefined;
  });
}

/**
 * The generation of a new key. Formats of one variant count together, so that the highest number among them names all
 * their bytes: it is the version in their common URL. The first bytes of a format change nothing that was there.
 */
function nextGeneration(row: LockedVariant, rows: readonly LockedVariant[]): number {
  const variant = wishName(row.name);
  if (variant === row.name || row.s3_key === null) return row.generation + 1;
  const siblings = rows.filter(({ name }) => wishName(name) === variant);
  return Math.max(...siblings.map(({ generation }) => generation)) + 1;
}

/** What an attempt has brought, by variant. */
export interface Outcome {
  readonly made: ReadonlyMap<string, Omit<MadeVariant, 'key' | 'recipe' | 'digest'>>;
  /** Variants whose recipe cannot be followed. */
  readonly failed: ReadonlyMap<string, Failure>;
}

/**
 * Makes results of the attempt count; the last ones, and what was learnt of the file, in the transaction that ends the job. Of a file that was deleted meanwhile,
 * or a variant that another attempt has taken over, nothing counts and what was written is queued for deletion.
 */
export async function completeClaim(
  tx: Tx,
  claim: Claim,
  { made, failed }: Outcome,
  maxWriteSeconds: number,
  facts?: FileFacts,
): Promise<void> {
  const { project_id: projectId, id: fileId } = claim.file;
  const file = await lockFile(tx, projectId, fileId);
  const rows = file ? await lockVariants(tx, projectId, fileId) : [];
  const deleted = !file || file.deleted_at !== null || file.projectDeleted;
  let bytes = 0;
  for (const variant of claim.variants) {
    const row = rows.find(({ name, pending_key }) => name === variant.name && pending_key === variant.key);
    const result = made.get(variant.name);
    const reason = failed.get(variant.name);
    if (row && reason && !deleted) {
      await buryAttempt(tx, row, maxWriteSeconds);
      await failVariant(tx, row, reason);
      continue;
    }
    if (!row || !result) {
      await bury(tx, [
        { key: variant.key, projectId, reason: 'variant superseded', againAfter: maxWriteSeconds },
      ]);
      continue;
    }
    if (deleted) {
      await buryAttempt(tx, row, maxWriteSeconds);
      await failVariant(tx, row, failure('file-deleted'));
      continue;
    }
    await finishAttempt(tx, row, {
      ...result,
      key: variant.key,
      recipe: variant.recipe,
      digest: variant.digest,
    });
    if (row.s3_key !== null) await bury(tx, [{ key: row.s3_key, projectId, reason: 'variant replaced' }]);
    bytes += result.size - (row.s3_key === null ? 0 : (row.size ?? 0));
  }
  if (file) await settle(tx, file, await lockVariants(tx, projectId, fileId), facts);
  // Last: the row is the busiest of a project.
  await countVariantBytes(tx, projectId, bytes);
}

/** Gives the claimed variants up for good: the picture itself is at fault, so no attempt can do better. */
export async function failClaim(
  tx: Tx,
  claim: Claim,
  reason: Failure,
  maxWriteSeconds: number,
): Promise<void> {
  await endClaim(tx, claim, maxWriteSeconds, (row) => failVariant(tx, row, reason));
}

/** Lets go of the claimed variants after a failure that may not last: another attempt may take them at once. */
export async function releaseClaim(
  db: Db,
  claim: Claim,
  reason: Failure,
  maxWriteSeconds: number,
): Promise<void> {
  await db
    .transaction()
    .execute((tx) => endClaim(tx, claim, maxWriteSeconds, (row) => abandonAttempt(tx, row, reason)));
}

/** Fails what a job that has run out of attempts was to make. */
export async function giveUp(
  tx: Tx,
  job: ImageProcessingJob,
  projectId: string,
  maxWriteSeconds: number,
): Promise<void> {
  const file = await lockFile(tx, projectId, job.fileId);
  if (!file) return;
  for (const row of await lockVariants(tx, projectId, job.fileId)) {
    const recipe = recipeFor(job, row.name);
    if (!recipe || row.status === 'failed') continue;
    if (row.status === 'ready' && row.recipe_digest === digestFor(recipe, file)) continue;
    if (row.wanted_digest !== null && row.wanted_digest !== digestFor(recipe, file)) continue;
    await buryAttempt(tx, row, maxWriteSeconds);
    // The last attempt may have left the reason; a worker that was killed could not.
    const known = row.failure_code !== null && row.failure !== null;
    await failVariant(tx, row, known ? stored(row) : failure('processing-failed'));
  }
  await settle(tx, file, await lockVariants(tx, projectId, job.fileId));
}

async function endClaim(
  tx: Tx,
  claim: Claim,
  maxWriteSeconds: number,
  end: (row: LockedVariant) => Promise<void>,
): Promise<void> {
  const { project_id: projectId, id: fileId } = claim.file;
  const file = await lockFile(tx, projectId, fileId);
  if (!file) {
    const keys = claim.variants.map(({ key }) => key);
    await bury(
      tx,
      keys.map((key) => ({ key, projectId, reason: 'file purged', againAfter: maxWriteSeconds })),
    );
    return;
  }
  for (const row of await lockVariants(tx, projectId, fileId)) {
    if (!claim.variants.some(({ name, key }) => name === row.name && key === row.pending_key)) continue;
    await buryAttempt(tx, row, maxWriteSeconds);
    await end(row);
  }
  await settle(tx, file, await lockVariants(tx, projectId, fileId));
}

/** Queues the key of an attempt for deletion: now, and again when its writer can no longer be alive. */
async function buryAttempt(tx: Tx, row: LockedVariant, maxWriteSeconds: number): Promise<void> {
  if (row.pending_key === null) return;
  await bury(tx, [
    {
      key: row.pending_key,
      projectId: row.project_id,
      reason: 'variant attempt abandoned',
      againAfter: maxWriteSeconds,
    },
  ]);
}

/**
 * Works out the file's state from its variants: ready when every eager one is, failed when one of them is. What
 * cannot be decoded here at all is no failure of the file, and what is ready stays ready.
 */
async function settle(
  tx: Tx,
  file: VariantFile,
  rows: readonly LockedVariant[],
  facts?: FileFacts,
): Promise<void> {
  const state = stateOf(file.status, rows);
  if (state.status === file.status && !facts) return;
  await settleFile(tx, file, state, facts);
  if (state.status === file.status || state.status === 'processing') return;
  const type = state.status === 'ready' ? 'file.ready' : 'file.failed';
  const data = state.failure === null ? {} : { failure: state.failure };
  await recordEvents(tx, [{ projectId: file.project_id, type, subjectId: file.id, data }]);
}

function stateOf(
  status: string,
  rows: readonly LockedVariant[],
): { readonly status: string; readonly failure: string | null } {
  if (status !== 'processing' && status !== 'failed') return { status, failure: null };
  const eager = rows.filter(({ lazy }) => !lazy);
  const failed = eager.find((row) => row.status === 'failed' && !isHarmless(row.failure_code));
  if (failed) return { status: 'failed', failure: failed.failure };
  const waiting = eager.some((row) => row.status === 'pending' || row.status === 'rendering');
  return { status: waiting ? 'processing' : 'ready', failure: null };
}

/** The configuration comes from JSON, whose objects answer to `constructor` and friends. */
function recipeFor(job: ImageProcessingJob, name: string): Recipe | undefined {
  return Object.hasOwn(job.variantsConfig, name) ? job.variantsConfig[name] : undefined;
}

function stored(row: LockedVariant): Failure {
  return { code: row.failure_code as Failure['code'], detail: row.failure ?? '' };
}
