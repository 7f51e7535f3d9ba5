import { v7 } from 'uuid';

/**
 * A new identifier: UUIDv7 (RFC 9562 §5.7). Made here and not by the database, because the embedded
 * PostgreSQL is 18 and others may be 15; time-ordered, so that keyset pages and index inserts stay local.
 */
export function newId(): string {
  return v7();
}

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** True for the one spelling of an id that this API hands out (lower case, hyphens). */
export function isId(text: string): boolean {
  return uuid.test(text);
}
