import { sql } from 'kysely';

import type { Db, Tx } from '../../foundation/database/connect.js';
import { newId } from '../../foundation/ids.js';
import type { Page } from '../../foundation/http/pages.js';

/** Who did what to what, from where, with which credential. It never holds a secret, an address of mail, or content. */
export interface AuditEntry {
  /** Null: of the server, not of a project. */
  readonly projectId: string | null;
  /** `operator`: whoever runs commands on the machine. */
  readonly actorKind: 'nobody' | 'user' | 'key' | 'link' | 'operator';
  /** The person, or the key. */
  readonly actorId: string | null;
  /** The session of a person. */
  readonly sessionId: string | null;
  /** operationId of the API, or the name of a command. */
  readonly action: string;
  readonly targetKind: string | null;
  readonly targetId: string | null;
  /** HTTP status of the answer; null for commands. */
  readonly status: number | null;
  readonly address: string | null;
  readonly userAgent: string | null;
  readonly requestId: string | null;
}

/** As it was written. */
export interface StoredEntry extends AuditEntry {
  readonly id: string;
  readonly at: Date;
}

export async function insertEntry(db: Db, entry: AuditEntry): Promise<void> {
  await db
    .insertInto('audit_log')
    .values({
      id: newId(),
      project_id: entry.projectId,
      actor_kind: entry.actorKind,
      actor_id: entry.actorId,
      session_id: entry.sessionId,
      action: entry.action,
      target_kind: entry.targetKind,
      target_id: entry.targetId,
      status: entry.status,
      address: entry.address,
      user_agent: entry.userAgent,
      request_id: entry.requestId,
    })
    .execute();
}

/**
 * Entries, newest first: up to `limit + 1`.
 * @param projectId undefined: those of the whole server.
 */
export async function listEntries(db: Db, projectId: string | undefined, page: Page): Promise<StoredEntry[]> {
  const rows = await db
    .selectFrom('audit_log')
    .selectAll()
    .$if(projectId !== undefined, (query) => query.where('project_id', '=', projectId ?? ''))
    .$if(page.after !== undefined, (query) => query.where('id', '<', page.after ?? ''))
    .orderBy('id', 'desc')
    .limit(page.limit + 1)
    .execute();
  return rows.map((row) => ({
    id: row.id,
    at: row.at,
    projectId: row.project_id,
    actorKind: row.actor_kind as AuditEntry['actorKind'],
    actorId: row.actor_id,
    sessionId: row.session_id,
    action: row.action,
    targetKind: row.target_kind,
    targetId: row.target_id,
    status: row.status,
    address: row.address,
    userAgent: row.user_agent,
    requestId: row.request_id,
  }));
}

/** Entries that are older than so many seconds. */
export function oldEntries(db: Db | Tx, olderThanSeconds: number) {
  return db
    .selectFrom('audit_log')
    .select('id')
    .where('at', '<', sql<Date>`now() - make_interval(secs => ${olderThanSeconds}::float8)`);
}

/** Removes old entries, which nothing else may. @returns how many, at most `limit`. */
export async function forgetEntries(db: Db, olderThanSeconds: number, limit: number): Promise<number> {
  return db.transaction().execute(async (tx) => {
    // What the table's trigger asks for.
    await sql`SET LOCAL mediablobkit.audit_retention = 'on'`.execute(tx);
    const { numDeletedRows } = await tx
      .deleteFrom('audit_log')
      .where('id', 'in', oldEntries(tx, olderThanSeconds).limit(limit))
      .executeTakeFirst();
    return Number(numDeletedRows);
  });
}
