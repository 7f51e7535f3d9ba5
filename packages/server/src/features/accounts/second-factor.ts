import { createHash, randomBytes } from 'node:crypto';

import type { Clock } from '../../foundation/clock.js';
import type { Db } from '../../foundation/database/connect.js';
import { Problem } from '../../foundation/problems.js';
import {
  activate,
  findSecondFactor,
  keepSecret,
  removeSecondFactor,
  useRecoveryCode,
  useStep,
} from './second-factor-queries.js';
import { base32, keyUri, stepOfCode } from './totp.js';

/** Time-based codes as a second factor (RFC 6238), and codes that stand in for them. */
export interface SecondFactors {
  /**
   * Judges what somebody with the right password brings.
   * @returns `missing` when a factor is asked for and none is there.
   */
  judge(userId: string, code: string | undefined): Promise<'good' | 'wrong' | 'missing'>;
  /** @throws Problem `conflict` when one is active already. */
  begin(userId: string, email: string): Promise<{ readonly secret: string; readonly uri: string }>;
  /** Makes it count. @throws Problem `invalid-credentials` for a wrong code. @returns the recovery codes, shown this once. */
  confirm(userId: string, code: string): Promise<readonly string[]>;
  remove(userId: string): Promise<void>;
}

const secretBytes = 20;
const recoveryCodes = 10;
/** 80 bits: a fast hash is enough. */
const recoveryBytes = 10;

export function createSecondFactors({
  db,
  clock,
}: {
  readonly db: Db;
  readonly clock: Clock;
}): SecondFactors {
  async function isRight(userId: string, secret: Buffer, code: string): Promise<boolean> {
    const step = stepOfCode(secret, code, clock.now());
    return step !== undefined && (await useStep(db, userId, step));
  }

  return {
    async judge(userId, code) {
      const factor = await findSecondFactor(db, userId);
      if (!factor?.active) return 'good';
      if (code === undefined) return 'missing';
      const plain = code.replaceAll(/[\s-]/g, '').toUpperCase();
      if (await isRight(userId, factor.secret, plain)) return 'good';
      return plain.length === 16 && (await useRecoveryCode(db, userId, hashOf(plain))) ? 'good' : 'wrong';
    },
    async begin(userId, email) {
      const secret = randomBytes(secretBytes);
      if (!(await keepSecret(db, userId, secret))) {
        throw new Problem('conflict', { detail: 'A second factor is active. Remove it first.' });
      }
      return { secret: base32(secret), uri: keyUri(secret, email, 'MediaBlobKit') };
    },
    async confirm(userId, code) {
      const factor = await findSecondFactor(db, userId);
      if (!factor || factor.active)
        throw new Problem('conflict', { detail: 'No second factor waits to be confirmed.' });
      if (!(await isRight(userId, factor.secret, code))) throw new Problem('invalid-credentials');
      const codes = Array.from({ length: recoveryCodes }, () => base32(randomBytes(recoveryBytes)));
      if (!(await activate(db, userId, codes.map(hashOf)))) throw new Problem('conflict');
      return codes.map((text) => (text.match(/.{4}/g) ?? []).join('-'));
    },
    remove: (userId) => removeSecondFactor(db, userId),
  };
}

function hashOf(code: string): Buffer {
  return createHash('sha256').update(code).digest();
}
