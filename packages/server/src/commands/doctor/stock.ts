import { storeFault } from '../../features/cleanup/store-identity.js';
import type { StoreCapabilities } from '../../foundation/blobs/blob-store.js';
import {
  fail,
  isDiagnosis,
  none,
  ok,
  reasonOf,
  warn,
  type Diagnosis,
  type DoctorCheck,
  type OpenedDatabase,
  type Patient,
} from './diagnosis.js';

/** A query costs a request at least one of these. */
const slowMs = 20;
/** Links and tokens are dated by the machine, leases and expiry by the database. */
const clockWarnMs = 2_000;
const clockFailMs = 60_000;
/** Part of the connections in use when somebody should look. */
const busyPart = 0.8;

/** The two that hold everything, and whether they belong together. */
export const stockChecks: readonly DoctorCheck[] = [
  { name: 'database', look: ({ database }) => (isDiagnosis(database) ? database : judgeDatabase(database)) },
  { name: 'migrations', look: ofDatabase(judgeMigrations) },
  { name: 'clock', look: ofDatabase(({ facts }) => judgeClock(facts.clockAheadMs)) },
  { name: 'search', look: ofTables(({ facts }) => judgeSearch(facts)) },
  { name: 'store', look: store },
  { name: 'store-abilities', look: storeAbilities },
  { name: 'identity', look: ofTables(identity) },
];

/** A look at a database that may not be there. */
function ofDatabase(look: (database: OpenedDatabase) => Diagnosis): DoctorCheck['look'] {
  return ({ database }) => (isDiagnosis(database) ? none('needs the database') : look(database));
}

/** A look into its tables, which are this program's only when all its migrations are applied. */
export function ofTables(
  look: (database: OpenedDatabase, patient: Patient) => Diagnosis | Promise<Diagnosis>,
): DoctorCheck['look'] {
  return (patient) => {
    const { database } = patient;
    if (isDiagnosis(database)) return none('needs the database');
    if ('fault' in database.schema || database.schema.pending.length > 0) return none('needs the migrations');
    return look(database, patient);
  };
}

function judgeDatabase({ facts: { version, latencyMs, connections } }: OpenedDatabase): Diagnosis {
  const { open, most } = connections;
  const found = `PostgreSQL ${version}, ${latencyMs.toFixed(1)} ms away, ${open} of ${most} connections in use`;
  if (open > most * busyPart) {
    return warn(found, 'Raise max_connections, lower MBK_DATABASE_POOL_SIZE, or put a pooler in between.');
  }
  if (latencyMs > slowMs) {
    return warn(
      found,
      'Every request waits for it several times: let the server run nearer to its database.',
    );
  }
  return ok(found);
}

export function judgeMigrations({ schema }: Pick<OpenedDatabase, 'schema'>): Diagnosis {
  if ('fault' in schema) return fail('schema and program do not fit', schema.fault);
  const { applied, pending } = schema;
  const [first] = pending;
  if (!first) return ok(`all ${applied.length} are applied`);
  return warn(
    `${pending.length} are not applied yet, from ${first.name} on`,
    'The next start applies them; or run: mediablobkit migrate',
  );
}

/** @param aheadMs milliseconds that the database's clock is ahead. */
export function judgeClock(aheadMs: number): Diagnosis {
  const apart = Math.abs(aheadMs);
  const found =
    apart < 1_000
      ? 'machine and database agree to the second'
      : `the database’s clock is ${(apart / 1000).toFixed(1)} s ${aheadMs > 0 ? 'ahead' : 'behind'}`;
  if (apart < clockWarnMs) return ok(found);
  const todo =
    'Let both follow the same time servers (timedatectl set-ntp true). Signed links and tokens expire at the wrong time.';
  return apart < clockFailMs ? warn(found, todo) : fail(found, todo);
}

export function judgeSearch(
  facts: Pick<OpenedDatabase['facts'], 'searchesByTrigrams' | 'hasTrigrams'>,
): Diagnosis {
  if (facts.searchesByTrigrams) return ok('names are searched by trigrams');
  const install = facts.hasTrigrams ? '' : 'Install the contrib package of PostgreSQL. ';
  return warn(
    'names are found by their beginning only',
    `${install}As a superuser: CREATE EXTENSION pg_trgm; CREATE EXTENSION btree_gin; CREATE INDEX CONCURRENTLY files_name_search ON files USING gin (project_id, filename gin_trgm_ops);`,
  );
}

async function store({ settings, store: blobs }: Patient): Promise<Diagnosis> {
  if (isDiagnosis(blobs)) return blobs;
  const what = settings.s3 ? `the bucket ${settings.s3.bucket}` : 'the blob folder';
  try {
    const began = performance.now();
    await blobs.check();
    const took = Math.round(performance.now() - began);
    return ok(`${what} takes, gives and deletes a blob in ${took} ms`);
  } catch (error) {
    return fail(`${what} cannot be used: ${reasonOf(error)}`, mendStore(settings.s3 !== undefined));
  }
}

export function mendStore(isBucket: boolean): string {
  return isBucket
    ? 'Check MBK_S3_ENDPOINT, MBK_S3_BUCKET and the keys; they must be allowed to get, put, list and delete.'
    : 'Check that the disk is mounted, has room, and that MBK_DATA_FOLDER belongs to the user of the server.';
}

async function storeAbilities({ store: blobs }: Patient): Promise<Diagnosis> {
  if (isDiagnosis(blobs)) return none('needs the store');
  if (blobs.backend === 'disk') return ok('a disk has all that is needed');
  try {
    const lacking = Object.entries(await blobs.capabilities()).filter(([, can]) => can === false);
    if (lacking.length === 0) return ok('it has all that is used');
    const names = lacking.map(([name]) => name as keyof StoreCapabilities).join(', ');
    return warn(`it lacks ${names}`, 'See “What a store may lack” in docs/operating.md for what follows.');
  } catch (error) {
    return fail(`they cannot be found out: ${reasonOf(error)}`, mendStore(true));
  }
}

async function identity({ db }: OpenedDatabase, { store: blobs }: Patient): Promise<Diagnosis> {
  if (isDiagnosis(blobs)) return none('needs the store');
  const fault = await storeFault({ db, blobs });
  return fault === undefined
    ? ok('the store bears the mark of this database')
    : fail('nothing is deleted in the store', fault);
}
