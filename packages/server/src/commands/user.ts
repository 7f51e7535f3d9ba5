import type { Settings } from '../config.js';
import { readEmail } from '../features/accounts/email.js';
import { findManagedUser, listUsers, type ManagedUser } from '../features/accounts/user-queries.js';
import { userOperations, type UserOperations } from '../features/accounts/users.js';
import { insertEntry } from '../features/audit/queries.js';
import type { Db } from '../foundation/database/connect.js';
import { Problem } from '../foundation/problems.js';
import { openGround } from '../kit.js';
import { openLog } from './open-log.js';
import { CommandError } from './plain-errors.js';

/** What can be done with people from the machine itself, without being logged in. */
export type UserCommand =
  | { readonly name: 'list' }
  | { readonly name: 'reset-link'; readonly email: string }
  | { readonly name: 'role'; readonly email: string; readonly role: 'admin' | 'user' }
  | { readonly name: 'disable' | 'enable'; readonly email: string };

/** Does it and ends. Running servers hear of it within a second. */
export async function userAndEnd(
  settings: Settings,
  command: UserCommand,
  print: (line: string) => void,
): Promise<void> {
  const ground = await openGround(settings, await openLog(settings), `user ${command.name}`);
  try {
    const { db } = ground.database;
    const users = userOperations({
      db,
      pagesUrl: settings.pagesUrl,
      onSessionsEnded: () => undefined,
      removeProjectsOf: () => Promise.reject(new TypeError('no command deletes people')),
    });
    await perform(users, db, command, print);
  } catch (error) {
    throw error instanceof Problem ? new CommandError(error.message) : error;
  } finally {
    await ground.close();
  }
}

async function perform(
  users: UserOperations,
  db: Db,
  command: UserCommand,
  print: (line: string) => void,
): Promise<void> {
  if (command.name === 'list') {
    let after: string | undefined;
    do {
      const page = await listUsers(db, { limit: 100, after });
      for (const user of page.slice(0, 100)) print(describe(user));
      after = page.length > 100 ? page[99]?.id : undefined;
    } while (after !== undefined);
    return;
  }
  const { id } = await byEmail(db, command.email);
  await insertEntry(db, {
    projectId: null,
    actorKind: 'operator',
    actorId: null,
    sessionId: null,
    action: `user ${command.name}`,
    targetKind: 'user',
    targetId: id,
    status: null,
    address: null,
    userAgent: null,
    requestId: null,
  });
  switch (command.name) {
    case 'reset-link': {
      const { url, expiresIn } = await users.resetLink(id);
      print(`Works once, for ${expiresIn / 60} minutes:`);
      print(url);
      return;
    }
    case 'role':
      print(describe(await users.change(id, { role: command.role })));
      return;
    case 'disable':
    case 'enable':
      print(describe(await users.change(id, { disabled: command.name === 'disable' })));
  }
}

async function byEmail(db: Db, text: string): Promise<ManagedUser> {
  const canonical = readEmail(text)?.canonical;
  const user = canonical === undefined ? undefined : await findManagedUser(db, { canonical });
  if (!user) throw new CommandError(`Nobody has the address ${text}.`);
  return user;
}

function describe({ email, role, disabledAt, secondFactor, createdAt }: ManagedUser): string {
  const marks = [...(disabledAt ? ['disabled'] : []), ...(secondFactor ? ['second factor'] : [])];
  return [email, role, createdAt.toISOString().slice(0, 10), ...marks].join('  ');
}
