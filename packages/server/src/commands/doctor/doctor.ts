import { stat } from 'node:fs/promises';
import { join } from 'node:path';

import type { Settings } from '../../config.js';
import type { BlobStore } from '../../foundation/blobs/blob-store.js';
import { openDatabase } from '../../foundation/database/connect.js';
import { startEmbedded } from '../../foundation/database/embedded.js';
import { examineDatabase } from '../../foundation/database/examine.js';
import { migrationStatus } from '../../foundation/database/migrate.js';
import { MigrationError } from '../../foundation/database/migration-error.js';
import { waitForDatabase } from '../../foundation/database/wait.js';
import { createLog, type Log } from '../../foundation/log.js';
import { createClosers, migrations, openStore } from '../../kit.js';
import {
  fail,
  none,
  reasonOf,
  type Diagnosis,
  type DoctorCheck,
  type Patient,
  type Schema,
  type Status,
} from './diagnosis.js';
import { machineChecks } from './machine.js';
import { settingsChecks } from './settings.js';
import { mendStore, stockChecks } from './stock.js';
import { workChecks } from './work.js';

export interface DoctorCommand {
  readonly json: boolean;
  readonly print: (line: string) => void;
}

/** Everything that is looked at, in the order of the table. */
export const checks: readonly DoctorCheck[] = [
  ...machineChecks,
  ...settingsChecks,
  ...stockChecks,
  ...workChecks,
];

/**
 * Looks at the installation and says what to do, beside a running server or without one; the embedded database is started
 * when there is one. Nothing is changed: a random blob comes and goes, and a disk store loses, as whenever it is opened,
 * the temporary files of processes that ended.
 * @returns the exit code: 0 nothing fails, whatever deserves a look; 1 something does; 2 something could not be looked at.
 */
export async function examine(settings: Settings, { json, print }: DoctorCommand): Promise<number> {
  // What the parts say for themselves stands in the table.
  const log = await createLog({ level: 'silent', pretty: false });
  const closers = createClosers(log);
  try {
    const patient = await open(settings, log, closers.opened);
    const found: (Diagnosis & { readonly check: string })[] = [];
    for (const { name, look } of checks) {
      const diagnosis = { check: name, ...(await lookAt(look, patient)) };
      found.push(diagnosis);
      if (!json) for (const line of linesOf(diagnosis)) print(line);
    }
    if (json) print(JSON.stringify({ checks: found }));
    else print(summaryOf(found));
    return exitCode(found);
  } finally {
    await closers.close();
  }
}

/** A check that breaks has not been made; the others go on. */
async function lookAt(look: DoctorCheck['look'], patient: Patient): Promise<Diagnosis> {
  try {
    return await look(patient);
  } catch (error) {
    return { status: 'unknown', found: `it could not be looked at: ${reasonOf(error)}` };
  }
}

function exitCode(found: readonly Diagnosis[]): number {
  const has = (wanted: Status): boolean => found.some(({ status }) => status === wanted);
  return has('fail') ? 1 : has('unknown') ? 2 : 0;
}

const signs: Readonly<Record<Status, string>> = {
  ok: 'ok',
  warn: 'warn',
  fail: 'fail',
  none: '-',
  unknown: '?',
};

function linesOf({ check, status, found, todo }: Diagnosis & { readonly check: string }): readonly string[] {
  const line = `${signs[status].padEnd(5)} ${check.padEnd(16)} ${found}`;
  return todo === undefined ? [line] : [line, `${' '.repeat(23)}→ ${todo}`];
}

function summaryOf(found: readonly Diagnosis[]): string {
  const count = (wanted: Diagnosis['status']): number =>
    found.filter(({ status }) => status === wanted).length;
  const [failures, warnings] = [count('fail'), count('warn')];
  if (failures + warnings === 0) return 'Nothing is wrong.';
  return `${failures} fail, ${warnings} deserve a look.`;
}

async function open(
  settings: Settings,
  log: Log,
  opened: (close: () => Promise<void>) => void,
): Promise<Patient> {
  return {
    settings,
    log,
    database: await openPatientDatabase(settings, log, opened).catch((error: unknown) =>
      fail('it cannot be used', reasonOf(error)),
    ),
    store: await openPatientStore(settings, log, opened).catch((error: unknown) =>
      fail(`it cannot be used: ${reasonOf(error)}`, mendStore(settings.s3 !== undefined)),
    ),
  };
}

async function openPatientDatabase(
  settings: Settings,
  log: Log,
  opened: (close: () => Promise<void>) => void,
): Promise<Patient['database']> {
  let { databaseUrl: url, databaseDirectUrl: directUrl } = settings;
  if (url === undefined || directUrl === undefined) {
    const folder = join(settings.dataFolder, 'postgres');
    if (!(await isFolder(folder))) return none('there is none yet; the first start makes it');
    const embedded = await startEmbedded({ folder, log });
    opened(() => embedded.stop());
    url = directUrl = embedded.url;
  }
  const { pooled } = await waitForDatabase({ url, log, timeoutMs: 0 });
  const facts = await examineDatabase(directUrl);
  const { statementTimeoutMs, lockTimeoutMs } = settings;
  const database = openDatabase({
    url,
    poolSize: 1,
    statementTimeoutMs,
    lockTimeoutMs,
    applicationName: 'mediablobkit doctor',
    pooled,
    log,
  });
  opened(() => database.close());
  return { facts, schema: await schemaOf(directUrl), db: database.db };
}

async function schemaOf(url: string): Promise<Schema> {
  try {
    return await migrationStatus({ url, folder: migrations });
  } catch (error) {
    if (!(error instanceof MigrationError)) throw error;
    return { fault: error.message };
  }
}

/** Opening a disk store makes its folder, which a doctor does not. */
async function openPatientStore(
  settings: Settings,
  log: Log,
  opened: (close: () => Promise<void>) => void,
): Promise<BlobStore | Diagnosis> {
  if (settings.store === 'disk' && !(await isFolder(join(settings.dataFolder, 'blobs')))) {
    return none('there is none yet; the first start makes it');
  }
  const blobs = await openStore(settings, log);
  opened(() => blobs.close());
  return blobs;
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return false;
    throw error;
  }
}
