import { stat } from 'node:fs/promises';
import { join } from 'node:path';

import {
  readStoreAddress,
  showAddress,
  type AddressContext,
  type StoreAddress,
} from '../config/store-address.js';
import { ConfigError, type Settings } from '../config.js';
import { findInstallation } from '../features/cleanup/identity-queries.js';
import { createLedger } from '../features/cleanup/ledger.js';
import type { BlobStore } from '../foundation/blobs/blob-store.js';
import { openCopyState, stateFile } from '../foundation/blobs/copy-state.js';
import { copyStore, type BlobLedger, type CopyResult } from '../foundation/blobs/copy-store.js';
import { readIdentity, unreadable, writeIdentity } from '../foundation/blobs/identity.js';
import { openBlobStore } from '../foundation/blobs/open.js';
import type { Log } from '../foundation/log.js';
import { openGround, storeAddress } from '../kit.js';
import { count, showProgress, size } from './copy-progress.js';
import { nextSteps } from './copy-steps.js';
import { openLog } from './open-log.js';
import { StartError } from './plain-errors.js';

export interface CopyCommand {
  readonly from: string;
  readonly to: string;
  readonly parallel: number;
  /** Reads everything in the target again, whatever earlier runs have read. */
  readonly reread: boolean;
  /** Copies by the listing alone. */
  readonly withoutDatabase: boolean;
  readonly env: AddressContext['env'];
  readonly cwd: string;
  readonly print: (line: string) => void;
  /** Writes over the last line of a terminal; undefined where there is none. */
  readonly draw: ((line: string) => void) | undefined;
  /** Ends the copy so that the next run continues it. */
  readonly signal: AbortSignal;
}

/** Extra blobs of the target that are named one by one. */
const namedExtras = 20;
/** Unfinished multipart uploads in the target that are older come from a copy that was killed. */
const staleTemporariesMs = 24 * 60 * 60 * 1000;

/**
 * Copies all blobs from one store to another and says what is missing, what differs, and what to do next.
 * @returns the exit code: 0 when the target has everything, 1 when not, 130 when interrupted.
 * @throws ConfigError, StartError, StoreUnavailable, StoreFull: sentences for a person.
 */
export async function copyAndEnd(settings: Settings, options: CopyCommand): Promise<number> {
  const { draw } = options;
  const print = (line: string): void => {
    draw?.('');
    options.print(line);
  };
  const command = { ...options, print };
  const context: AddressContext = {
    env: command.env,
    cwd: command.cwd,
    settings,
    current: storeAddress(settings),
  };
  const from = readStoreAddress(command.from, 'from', context);
  const to = readStoreAddress(command.to, 'to', context);
  if (showAddress(from) === showAddress(to)) throw new ConfigError(['--from and --to name the same store.']);
  // Opening a disk store makes its folder; a source that has to be made is a mistyped one.
  if (from.backend === 'disk' && !(await isFolder(from.folder))) {
    throw new ConfigError([`--from names a folder that is not there: ${from.folder}.`]);
  }
  const log = await openLog(settings);
  const source = await openBlobStore({ ...from, log });
  try {
    const target = await openBlobStore({ ...to, log });
    try {
      return await copyBetween(settings, command, log, { source, target, from, to });
    } finally {
      await target.close();
    }
  } finally {
    await source.close();
  }
}

interface Ends {
  readonly source: BlobStore;
  readonly target: BlobStore;
  readonly from: StoreAddress;
  readonly to: StoreAddress;
}

async function copyBetween(
  settings: Settings,
  command: CopyCommand,
  log: Log,
  { source, target, from, to }: Ends,
): Promise<number> {
  const { print } = command;
  await target.check();
  const mark = await readMark(source, target);
  const rows = await openRows(settings, command, log, mark);
  try {
    print(`Copying ${showAddress(from)} to ${showAddress(to)}.`);
    print(
      rows.ledger
        ? 'The rows of the database say what must be there, and with which SHA-256.'
        : 'Without the database: what is listed is copied, and compared by reading both sides.',
    );
    const stateName = [showAddress(from), showAddress(to)] as const;
    const state = await openCopyState(stateFile(join(settings.dataFolder, 'copies'), ...stateName));
    await target.removeStaleTemporaries(staleTemporariesMs);
    let stopProgress: (() => void) | undefined;
    let result: CopyResult;
    let extras = 0;
    try {
      result = await copyStore({
        from: source,
        to: target,
        ledger: rows.ledger,
        parallel: command.parallel,
        verified: command.reread ? [] : state.earlier,
        signal: command.signal,
        onStart: (tally) => (stopProgress = showProgress({ tally, print, draw: command.draw })),
        onFailure: ({ kind, key, reason }) => print(`${kind}: ${key}: ${reason}`),
        onExtra: ({ key }) => {
          extras += 1;
          if (extras <= namedExtras) print(`only in the target: ${key}`);
        },
        onVerified: (span) => state.note(span),
      });
    } finally {
      stopProgress?.();
      await state.close();
    }
    return await conclude(command, { mark, result, source, target, to });
  } finally {
    await rows.close();
  }
}

/** Says how it went; a target that has everything gets the mark of the source. */
async function conclude(
  { print }: CopyCommand,
  { mark, result, target, to }: Omit<Ends, 'from'> & { readonly mark: Mark; readonly result: CopyResult },
): Promise<number> {
  for (const line of summary(result)) print(line);
  if (result.interrupted) {
    print('Interrupted. The same command continues.');
    return 130;
  }
  if (result.outcomes.failure.blobs > 0) {
    print(
      'The blobs named above are not in the target as they should be. The same command tries them again; a target that lacks some is not marked.',
    );
    return 1;
  }
  if (mark !== undefined) await markTarget(target, mark);
  for (const line of nextSteps(to, mark !== undefined)) print(line);
  return 0;
}

/** The id of the installation that the source bears; undefined when it bears none. */
type Mark = string | undefined;

async function readMark(source: BlobStore, target: BlobStore): Promise<Mark> {
  const mark = await readIdentity(source);
  if (mark === unreadable) {
    throw new StartError(
      'The source bears a mark that cannot be read. Mend it first: mediablobkit storage adopt',
    );
  }
  refuseForeign(await readIdentity(target), mark);
  return mark;
}

function refuseForeign(found: Mark, mark: Mark): void {
  if (found === undefined || found === mark) return;
  const owner = found === unreadable ? 'a mark that cannot be read' : `the mark of installation ${found}`;
  throw new StartError(
    `The target bears ${owner}, the source ${mark === undefined ? 'none' : `that of ${mark}`}. Nothing was copied. Choose an empty store.`,
  );
}

/** Written last: a server that is given a target that is not complete yet deletes nothing there, and says why. */
async function markTarget(target: BlobStore, mark: string): Promise<void> {
  const found = await readIdentity(target);
  refuseForeign(found, mark);
  if (found === undefined) await writeIdentity(target, mark);
  refuseForeign(await readIdentity(target), mark);
}

interface Rows {
  readonly ledger: BlobLedger | undefined;
  close(): Promise<void>;
}

/** The database whose store the source is. */
async function openRows(settings: Settings, command: CopyCommand, log: Log, mark: Mark): Promise<Rows> {
  const none: Rows = { ledger: undefined, close: () => Promise.resolve() };
  if (command.withoutDatabase) return none;
  if (settings.databaseUrl === undefined && !(await isFolder(join(settings.dataFolder, 'postgres')))) {
    // The embedded database would be made here and now, and know nothing.
    command.print('There is no database with these settings.');
    return none;
  }
  const ground = await openGround(settings, log, 'storage copy');
  try {
    const installation = await findInstallation(ground.database.db);
    if (installation?.id !== mark || mark === undefined) {
      throw new StartError(
        `The source bears ${mark === undefined ? 'no mark' : `the mark of installation ${mark}`}, the database is ${installation?.id ?? 'a new one'}. Check DATABASE_URL and --from; if the two do belong together, run mediablobkit storage adopt first; to copy without the database, add --without-database.`,
      );
    }
    return { ledger: createLedger(ground.database.db), close: () => ground.close() };
  } catch (error) {
    await ground.close();
    throw error;
  }
}

function summary({ outcomes, moved }: CopyResult): readonly string[] {
  const { copied, verified, known, vanished, extra, failure } = outcomes;
  const line = (what: string, { blobs, bytes }: { blobs: number; bytes: number }): string =>
    `${what}: ${count(blobs)} blobs, ${size(bytes)}`;
  return [
    `${line('Copied and read back', copied)} (${size(moved)} read from the source)`,
    line('There already, read again', verified),
    line('There already, read by an earlier run', known),
    ...(vanished.blobs > 0 ? [line('Deleted meanwhile', vanished)] : []),
    ...(extra.blobs > 0 ? [line('Only in the target, left alone', extra)] : []),
    line('Missing or different', failure),
  ];
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return false;
    throw error;
  }
}
