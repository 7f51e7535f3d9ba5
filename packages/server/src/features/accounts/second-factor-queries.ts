import { sql } from 'kysely';

import type { Db, Tx } from '../../foundation/database/connect.js';

/** The second factor of a person. */
export interface SecondFactor {
  readonly secret: Buffer;
  /** Whether it is asked for; before that it waits to be tried out. */
  readonly active: boolean;
}

export async function findSecondFactor(db: Db | Tx, userId: string): Promise<SecondFactor | undefined> {
  const row = await db
    .selectFrom('users')
    .select(['totp_secret', 'totp_since'])
    .where('id', '=', userId)
    .executeTakeFirst();
  return row?.totp_secret ? { secret: row.totp_secret, active: row.totp_since !== null } : undefined;
}

/** Keeps a secret that waits to be tried out. @returns false when one is active already. */
export async function keepSecret(db: Db, userId: string, secret: Buffer): Promise<boolean> {
  const kept = await db
    .updateTable('users')
    .set({ totp_secret: secret, totp_last_step: null })
    .where('id', '=', userId)
    .where('totp_since', 'is', null)
    .executeTakeFirst();
  return kept.numUpdatedRows > 0n;
}

/** From now on the factor is asked for. */
export async function activate(db: Db, userId: string, recoveryHashes: readonly Buffer[]): Promise<boolean> {
  const activated = await db
    .updateTable('users')
    .set({ totp_since: sql<Date>`now()`, recovery_hashes: [...recoveryHashes] })
    .where('id', '=', userId)
    .where('totp_secret', 'is not', null)
    .where('totp_since', 'is', null)
    .executeTakeFirst();
  return activated.numUpdatedRows > 0n;
}

export async function removeSecondFactor(db: Db | Tx, userId: string): Promise<void> {
  await db
    .updateTable('users')
    .set({ totp_secret: null, totp_since: null, totp_last_step: null, recovery_hashes: [] })
    .where('id', '=', userId)
    .execute();
}

/** Uses a time step up. @returns false when it, or a later one, was used before (RFC 6238 §5.2). */
export async function useStep(db: Db, userId: string, step: number): Promise<boolean> {
  const used = await db
    .updateTable('users')
    .set({ totp_last_step: step })
    .where('id', '=', userId)
    .where((eb) => eb.or([eb('totp_last_step', 'is', null), eb('totp_last_step', '<', step)]))
    .executeTakeFirst();
  return used.numUpdatedRows > 0n;
}

/** Uses a recovery code up. @returns false when the person has no such code (any more). */
export async function useRecoveryCode(db: Db, userId: string, hash: Buffer): Promise<boolean> {
  const used = await db
    .updateTable('users')
    .set({ recovery_hashes: sql<Buffer[]>`array_remove(recovery_hashes, ${hash}::bytea)` })
    .where('id', '=', userId)
    .where(sql<boolean>`${hash}::bytea = ANY (recovery_hashes)`)
    .executeTakeFirst();
  return used.numUpdatedRows > 0n;
}
