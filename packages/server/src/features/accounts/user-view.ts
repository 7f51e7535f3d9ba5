import Type from 'typebox';

import { maxPasswordBytes, minPasswordLength } from './password-rules.js';
import type { User } from './queries.js';

/** A person as they see themselves. */
export const UserView = Type.Object({
  id: Type.String({ format: 'uuid' }),
  email: Type.String(),
  emailVerified: Type.Boolean({ description: 'Whether a link that was sent there has been followed.' }),
  name: Type.Union([Type.String(), Type.Null()]),
  role: Type.Enum(['admin', 'user'], { type: 'string' }),
  secondFactor: Type.Boolean({ description: 'Whether logging in takes a code as well.' }),
  createdAt: Type.String({ format: 'date-time' }),
});

export function presentUser({ id, email, emailVerified, name, role, secondFactor, createdAt }: User) {
  return { id, email, emailVerified, name, role, secondFactor, createdAt: createdAt.toISOString() };
}

export const email = Type.String({ minLength: 1, maxLength: 320 });
export const password = Type.String({
  maxLength: maxPasswordBytes,
  description: `At least ${minPasswordLength} characters.`,
});
/** Taken beside a password. */
export const secondFactorCode = Type.Optional(
  Type.String({
    minLength: 1,
    maxLength: 40,
    description:
      'The code of the authenticator app, or a recovery code; where the account has a second factor.',
  }),
);
/** The secret of a link. */
export const linkToken = Type.String({ minLength: 1, maxLength: 200 });
