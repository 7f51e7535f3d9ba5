import Type from 'typebox';

import type { Db } from '../../foundation/database/connect.js';
import type { Mailer } from '../../foundation/mail.js';
import { defineJob, handle, type JobHandler } from '../../foundation/queue/define.js';
import { newSecret } from '../access/random-secret.js';
import { replaceLink } from './link-queries.js';
import { inTransaction } from './queries.js';
import { findManagedUser } from './user-queries.js';

/**
 * Sends a link about an account. The job knows no secret: the link is made when it is sent. That the API only enqueues
 * keeps the time of its answer the same for addresses that nobody has.
 */
export const sendAccountMail = defineJob({
  name: 'send-account-mail',
  payload: Type.Object({
    kind: Type.Union([Type.Literal('password-reset'), Type.Literal('email-verification')]),
    /** Whom it is for: the person, or whoever has the address. */
    userId: Type.Optional(Type.String()),
    canonical: Type.Optional(Type.String()),
    /** The address to prove, when it is to take the place of the present one. */
    email: Type.Optional(Type.Object({ shown: Type.String(), canonical: Type.String() })),
  }),
  lane: 'interactive',
  attempts: 6,
  timeoutSeconds: 60,
});

/** Seconds that the links work. */
export const resetSeconds = 3600;
export const verificationSeconds = 86_400;

export interface AccountMailOptions {
  readonly db: Db;
  /** Absent: nothing is sent, and nobody enqueues anything. */
  readonly mailer: Mailer | undefined;
  /** Where pages for people are, without a slash at the end. */
  readonly pagesUrl: string;
}

export function createAccountMail({ db, mailer, pagesUrl }: AccountMailOptions): JobHandler {
  return handle(sendAccountMail, async ({ payload, log }) => {
    const { kind, email, userId: id, canonical = '' } = payload;
    const user = await findManagedUser(db, id === undefined ? { canonical } : { id });
    if (!mailer || !user || user.disabledAt) return;
    const secret = newSecret();
    const to = email?.shown ?? user.email;
    const about = texts[kind];
    await inTransaction(db, (tx) =>
      replaceLink(tx, {
        kind,
        hash: secret.hash,
        userId: user.id,
        ...(email ? { email } : {}),
        lifetimeSeconds: about.seconds,
      }),
    );
    await mailer.send({ to, subject: about.subject, text: about.text(linkTo(pagesUrl, kind, secret.text)) });
    log.info({ userId: user.id, kind }, 'mail sent');
  });
}

/** The page of a link; the secret stands in the fragment, which is sent to no server. */
export function linkTo(pagesUrl: string, kind: keyof typeof texts | 'invitation', secret: string): string {
  const page = {
    invitation: 'join',
    'password-reset': 'reset-password',
    'email-verification': 'verify-email',
  };
  return `${pagesUrl}/${page[kind]}#token=${secret}`;
}

const texts = {
  'password-reset': {
    seconds: resetSeconds,
    subject: 'Choose a new password',
    text: (link: string) =>
      `Somebody asked for a new password for your account. Open this link within an hour to choose one:\n\n${link}\n\nIf it was not you, do nothing: your password stays as it is.\n`,
  },
  'email-verification': {
    seconds: verificationSeconds,
    subject: 'Confirm your e-mail address',
    text: (link: string) =>
      `Open this link within a day to confirm that this address is yours:\n\n${link}\n\nIf you do not know what this is about, do nothing.\n`,
  },
} as const;
