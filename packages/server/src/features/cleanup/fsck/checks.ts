import type { Db } from '../../../foundation/database/connect.js';
import {
  deadLeases,
  dropTombstone,
  forgottenUploads,
  leakedReservations,
  leftParts,
  livingTombstones,
  lostRenders,
  lostWalks,
  recount,
  releaseReservation,
  settleState,
  sharedKeys,
  silentUploads,
  strayKeys,
  strayVariants,
  stuckTombstones,
  wrongCounters,
  wrongStates,
  type Bounds,
  type Wrong,
} from './row-queries.js';

/** What must hold of rows: how it is found out, and what can safely be done about it. */
export interface RowCheck {
  /** What must hold, for people. */
  readonly doc: string;
  /** What `--repair` does; undefined: only a person can say what is right, or the timetable does it. */
  readonly repair?: string;
  readonly find: (db: Db, bounds: Bounds) => Promise<readonly Wrong[]>;
  /** @returns false when there was nothing to repair any more. */
  readonly mend?: (db: Db, wrong: Wrong) => Promise<boolean>;
}

/** Every check of rows by its name. */
export const rowChecks = {
  'quota-drift': {
    doc: 'What a project holds is the sum of its files, variants and reservations.',
    repair: 'counts anew',
    find: wrongCounters,
    mend: recount,
  },
  'reservation-leaked': {
    doc: 'An upload that is over holds nothing of the quota.',
    repair: 'gives it back',
    find: leakedReservations,
    mend: releaseReservation,
  },
  'upload-stuck': {
    doc: 'A file whose bytes arrive is fed by somebody; else cleanup removes it within minutes.',
    find: silentUploads,
  },
  'upload-forgotten': {
    doc: 'An upload of several requests that is silent for `MBK_UPLOAD_EXPIRY` is given up.',
    find: forgottenUploads,
  },
  'parts-left': { doc: 'An upload that is over has left no parts in the store.', find: leftParts },
  'render-lost': {
    doc: 'A variant that is to be made has a job.',
    repair: 'has it rendered',
    find: lostRenders,
  },
  'state-wrong': {
    doc: 'A file is `processing` only while one of its eager variants is to be made.',
    repair: 'gives it the state that its variants say',
    find: wrongStates,
    mend: settleState,
  },
  'key-stray': {
    doc: 'A key is made of the ids of its project and file, and lies in their folder.',
    find: strayKeys,
  },
  'key-shared': { doc: 'No two rows name one key.', find: sharedKeys },
  'variant-stray': { doc: 'A variant belongs to the project of its file.', find: strayVariants },
  'tombstone-living': {
    doc: 'No key that a living row names is to be deleted.',
    repair: 'takes it out of the queue; nothing is deleted',
    find: livingTombstones,
    mend: dropTombstone,
  },
  'tombstone-stuck': { doc: 'The store lets go of what is to be deleted.', find: stuckTombstones },
  'lease-dead': { doc: 'A job whose worker is dead is taken over within its lease.', find: deadLeases },
  'walk-lost': {
    doc: 'Regenerations, deletions of many files, imports and removals of projects that run have a job.',
    find: lostWalks,
  },
} as const satisfies Record<string, RowCheck>;

/** Every check of blobs by its name, with what `--repair` does. */
export const blobChecks = {
  'blob-missing': {
    doc: 'Every original and variant that is ready has its blob.',
    repair: 'renders a variant again; marks a file whose original is lost',
  },
  'blob-size': {
    doc: 'A blob has as many bytes as its row says.',
    repair: 'renders a variant again; marks a file whose original is damaged',
  },
  'blob-hash': { doc: 'A blob has the SHA-256 that its row says (`--deep`).' },
  'blob-unknown': {
    doc: 'A blob of our layout that is older than the grace period is named by a row or on its way out. `mediablobkit cleanup sweep` moves it into quarantine.',
  },
  'put-unfinished': {
    doc: 'No put in parts is older than the grace period unless somebody goes on with it.',
  },
} as const;

export type RowCheckName = keyof typeof rowChecks;
export type BlobCheckName = keyof typeof blobChecks;
export type CheckName = RowCheckName | BlobCheckName;
