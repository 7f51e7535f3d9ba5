import type { Db, Tx } from '../../../foundation/database/connect.js';
import { inTransaction } from '../../projects/queries.js';
import { lockIntegrity, noteIntegrity, type NamedBlob } from './damage-queries.js';

/** An original whose bytes are lost. */
export interface Damage {
  readonly projectId: string;
  readonly fileId: string;
  readonly kind: 'missing' | 'corrupt';
  /** In the store; never leaves the API. */
  readonly key: string;
}

/** What rooms above do about lost bytes; handed in by the hall. */
export interface Remedies {
  /** Tells others, in the transaction that writes it down; once for each change. */
  readonly onDamage: (tx: Tx, damage: Damage) => Promise<void>;
  /**
   * Has a variant rendered again from its original, in the caller's transaction, which has locked the file.
   * @returns false when it cannot be: its file is in the trash, or its row is gone.
   */
  readonly renderAgain: (
    tx: Tx,
    variant: { readonly projectId: string; readonly fileId: string; readonly name: string },
  ) => Promise<boolean>;
}

/** `mended`: it is rendered again; `marked`: the row says so; `left`: and nothing more can be done; `gone`: no row. */
export type Remedy = 'mended' | 'marked' | 'left' | 'gone';

/** Writes down that the bytes of a row are lost, and does what can be done about it. */
export async function noteDamage(
  db: Db,
  { onDamage, renderAgain }: Remedies,
  blob: NamedBlob,
  kind: Damage['kind'],
): Promise<Remedy> {
  const { projectId, fileId, key, variant } = blob;
  return inTransaction(db, async (tx): Promise<Remedy> => {
    const original = await lockIntegrity(tx, blob);
    if (!original || !(await noteIntegrity(tx, blob, kind))) return 'gone';
    if (variant === null) {
      if (original.integrity !== kind) await onDamage(tx, { projectId, fileId, kind, key });
      return 'marked';
    }
    // Without its original it would only fail.
    const isHopeless = original.integrity === 'missing' || original.integrity === 'corrupt';
    if (isHopeless || !(await renderAgain(tx, { projectId, fileId, name: variant }))) return 'left';
    return 'mended';
  });
}
