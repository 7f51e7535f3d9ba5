import { availableParallelism } from 'node:os';
import { delimiter } from 'node:path';

import type { Parsed } from './config/kinds.js';
import {
  find,
  readEnvFile,
  unknownVariables,
  type Layer,
  type Source,
  type Variables,
} from './config/sources.js';
import { table, type Setting, type SettingKey, type Values } from './config/table.js';

/** What is worked out from other settings when it is not set. */
type Derived =
  | 'publicUrl'
  | 'pagesUrl'
  | 'store'
  | 's3ForcePathStyle'
  | 'jobConcurrency'
  | 'importConcurrency'
  | 'imagingProcesses'
  | 'passwordHashes';

/**
 * The settings of a process, frozen. Durations are in milliseconds (`…Ms`), sizes in bytes. Printing or
 * serialising the object shows its secrets masked.
 */
export interface Settings extends Omit<Values, Derived> {
  /** No slash at its end. */
  readonly publicUrl: string;
  /** No slash at its end. */
  readonly pagesUrl: string;
  readonly store: 'disk' | 's3';
  /** Everything of the S3 store together; undefined with `store: 'disk'`. */
  readonly s3: S3Settings | undefined;
  readonly s3ForcePathStyle: boolean;
  readonly jobConcurrency: number;
  readonly importConcurrency: number;
  readonly imagingProcesses: number;
  readonly passwordHashes: number;
  /** Folders of `PATH`, in which other programs are looked for. */
  readonly programFolders: readonly string[];
  /** Where each value came from. */
  readonly sources: Readonly<Record<SettingKey, Source>>;
}

/** How the bucket is reached; holds a secret that only the whole settings object masks. */
export interface S3Settings {
  readonly bucket: string;
  /** AWS itself when undefined. */
  readonly endpoint: string | undefined;
  readonly publicEndpoint: string | undefined;
  readonly region: string;
  readonly forcePathStyle: boolean;
  readonly createBucket: boolean;
  /** What the AWS SDK finds by itself when undefined. */
  readonly credentials:
    | {
        readonly accessKeyId: string;
        readonly secretAccessKey: string;
        readonly sessionToken: string | undefined;
      }
    | undefined;
}

/** Why the process cannot start: every fault of its settings at once, none holding a value. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  /** Sentences for a person, each naming its setting. */
  readonly faults: readonly string[];
  constructor(faults: readonly string[]) {
    super(
      `The settings have ${faults.length === 1 ? 'a fault' : `${faults.length} faults`}:\n${faults
        .map((fault) => `  - ${fault}`)
        .join('\n')}`,
    );
    this.faults = faults;
  }
}

export interface ConfigOptions {
  /** The process's environment; it wins over `.env`. */
  readonly env: Variables;
  /** Folder of `.env` and of relative paths. */
  readonly cwd: string;
  /**
   * Whether the secrets must be there when the database is not the embedded one. Commands that sign nothing
   * (`migrate`, `health`, `config`) pass false. Default true.
   */
  readonly demandSecrets?: boolean;
}

const keys = Object.keys(table) as SettingKey[];
const settingOf = (key: SettingKey): Setting<unknown> => table[key];

/**
 * Reads and checks every setting.
 * @throws ConfigError with all faults found.
 */
export function loadConfig(options: ConfigOptions): Settings {
  const envFile = readEnvFile(options.cwd);
  const layers: readonly Layer[] = [
    { source: 'environment', variables: options.env },
    { source: '.env', variables: envFile.variables },
  ];
  const faults = envFile.fault === undefined ? [] : [envFile.fault];
  const broken = new Set<SettingKey>();
  const values: Partial<Record<SettingKey, unknown>> = {};
  const sources: Partial<Record<SettingKey, Source>> = {};

  for (const key of keys) {
    const { name, kind, standard } = settingOf(key);
    const found = find(name, layers, options.cwd);
    let parsed: Parsed<unknown> | undefined;
    if (found && 'fault' in found) {
      faults.push(found.fault);
      broken.add(key);
    } else if (found) {
      parsed = kind.parse(found.text, options.cwd);
    } else if (standard !== undefined) {
      parsed = kind.parse(standard, options.cwd);
    }
    if (parsed && 'fault' in parsed) {
      faults.push(`${name} must ${parsed.fault}.`);
      broken.add(key);
    }
    values[key] = parsed && 'value' in parsed ? parsed.value : undefined;
    sources[key] = found && 'source' in found ? found.source : 'default';
  }
  const names = keys.map((key) => settingOf(key).name);
  faults.push(...unknownVariables(layers, names));

  // The loop above gave every key what its own kind made.
  const complete = values as Values;
  faults.push(...crossFaults(complete, broken, options.demandSecrets ?? true));
  if (faults.length > 0) throw new ConfigError(faults);
  const settings = { ...derive(complete), programFolders: programFolders(options.env) };
  return freeze(settings, sources as Record<SettingKey, Source>);
}

/** Rules between settings. A setting that is broken by itself is not complained about twice. */
function crossFaults(values: Values, broken: ReadonlySet<SettingKey>, demandSecrets: boolean): string[] {
  const faults: string[] = [];
  const missing = (key: SettingKey): boolean => values[key] === undefined && !broken.has(key);
  const has = (key: SettingKey): boolean => values[key] !== undefined || broken.has(key);
  const demand = (key: SettingKey, why: string): void => {
    if (missing(key)) faults.push(`${settingOf(key).name} is missing: ${why}`);
  };

  if (demandSecrets && has('databaseUrl')) {
    for (const key of ['jwtSecret', 'linkSecret'] as const)
      demand(key, 'with DATABASE_URL it must be set. Make one with: openssl rand -base64 32');
  }
  if (values.jwtSecret !== undefined && values.jwtSecret === values.linkSecret)
    faults.push('MBK_JWT_SECRET and MBK_LINK_SECRET must differ; make one of them anew.');
  if (values.linkSecretPrevious !== undefined) {
    if (values.linkSecretPrevious === values.linkSecret)
      faults.push('MBK_LINK_SECRET_PREVIOUS must be the secret of before, not that of MBK_LINK_SECRET.');
    if (values.linkSecretPrevious === values.jwtSecret)
      faults.push('MBK_LINK_SECRET_PREVIOUS and MBK_JWT_SECRET must differ.');
  }
  if (values.jwtSecretPrevious !== undefined) {
    if (values.jwtSecretPrevious === values.jwtSecret)
      faults.push('MBK_JWT_SECRET_PREVIOUS must be the secret of before, not that of MBK_JWT_SECRET.');
    if (values.jwtSecretPrevious === values.linkSecret)
      faults.push('MBK_JWT_SECRET_PREVIOUS and MBK_LINK_SECRET must differ.');
  }
  if (has('smtpUrl')) demand('mailFrom', 'MBK_SMTP_URL needs it.');
  if (has('mailFrom')) demand('smtpUrl', 'MBK_MAIL_FROM is set and needs it beside.');
  if (values.linkMaxLifetimeMs < values.linkLifetimeMs)
    faults.push('MBK_LINK_MAX_LIFETIME must not be shorter than MBK_LINK_LIFETIME.');
  if (has('databaseDirectUrl')) demand('databaseUrl', 'MBK_DATABASE_DIRECT_URL is set and needs it beside.');
  if (values.refreshTokenLifetimeMs < values.accessTokenLifetimeMs)
    faults.push('MBK_REFRESH_TOKEN_LIFETIME must not be shorter than MBK_ACCESS_TOKEN_LIFETIME.');

  const s3Keys = ['s3Endpoint', 's3Region', 's3ForcePathStyle', 's3PublicEndpoint'] as const;
  if (values.store === 's3') demand('s3Bucket', 'MBK_STORE=s3 needs it.');
  else if (
    values.store === 'auto' &&
    (s3Keys.some((key) => has(key) && values[key] !== false) || values.s3CreateBucket)
  )
    demand('s3Bucket', 'other MBK_S3_… settings are set. Set it too, or MBK_STORE=disk.');
  if (usesS3(values)) {
    if (has('s3Endpoint')) {
      demand('awsAccessKeyId', 'MBK_S3_ENDPOINT needs it.');
      demand('awsSecretAccessKey', 'MBK_S3_ENDPOINT needs it.');
    } else {
      if (!has('awsRegion')) demand('s3Region', 'AWS needs the region of the bucket.');
      if (has('awsAccessKeyId'))
        demand('awsSecretAccessKey', 'AWS_ACCESS_KEY_ID is set and needs it beside.');
      if (has('awsSecretAccessKey'))
        demand('awsAccessKeyId', 'AWS_SECRET_ACCESS_KEY is set and needs it beside.');
    }
  }
  return faults;
}

function usesS3(values: Values): boolean {
  return values.store === 's3' || (values.store === 'auto' && values.s3Bucket !== undefined);
}

function programFolders({ PATH: path = '' }: Variables): readonly string[] {
  return Object.freeze(path.split(delimiter).filter((folder) => folder !== ''));
}

function derive(values: Values): Omit<Settings, 'sources' | 'programFolders'> {
  const imagingProcesses = values.imagingProcesses ?? Math.min(256, availableParallelism());
  const jobConcurrency = values.jobConcurrency ?? Math.max(4, imagingProcesses);
  const s3 = usesS3(values) ? s3Settings(values) : undefined;
  const publicUrl = values.publicUrl ?? `http://localhost:${values.port}`;
  return {
    ...values,
    publicUrl,
    pagesUrl: values.pagesUrl ?? `${publicUrl}/console`,
    store: s3 ? 's3' : 'disk',
    s3,
    s3Region: s3?.region ?? values.s3Region,
    s3ForcePathStyle: forcesPathStyle(values),
    s3PublicEndpoint: values.s3PublicEndpoint ?? values.s3Endpoint,
    databaseDirectUrl: values.databaseDirectUrl ?? values.databaseUrl,
    jobConcurrency,
    importConcurrency: values.importConcurrency ?? Math.max(1, Math.floor(jobConcurrency / 2)),
    imagingProcesses,
    passwordHashes:
      values.passwordHashes ?? Math.min(64, Math.max(1, Math.floor(availableParallelism() / 2))),
  };
}

const forcesPathStyle = (values: Values): boolean =>
  values.s3ForcePathStyle ?? values.s3Endpoint !== undefined;

function s3Settings(values: Values): S3Settings | undefined {
  const { s3Bucket: bucket, awsAccessKeyId: accessKeyId, awsSecretAccessKey: secretAccessKey } = values;
  if (bucket === undefined) return undefined;
  return Object.freeze({
    bucket,
    endpoint: values.s3Endpoint,
    publicEndpoint: values.s3PublicEndpoint ?? values.s3Endpoint,
    region: values.s3Region ?? values.awsRegion ?? 'us-east-1',
    forcePathStyle: forcesPathStyle(values),
    createBucket: values.s3CreateBucket,
    credentials:
      accessKeyId !== undefined && secretAccessKey !== undefined
        ? Object.freeze({ accessKeyId, secretAccessKey, sessionToken: values.awsSessionToken })
        : undefined,
  });
}

function freeze(values: Omit<Settings, 'sources'>, sources: Record<SettingKey, Source>): Settings {
  const settings: Settings = { ...values, sources: Object.freeze(sources) };
  const masked = (): Record<string, string> =>
    Object.fromEntries(effectiveSettings(settings).map(({ name, value }) => [name, value]));
  // Not enumerable, so that a copy by spreading does not carry them.
  Object.defineProperty(settings, 'toJSON', { value: masked });
  Object.defineProperty(settings, Symbol.for('nodejs.util.inspect.custom'), { value: masked });
  return Object.freeze(settings);
}

/** One line of `mediablobkit config`. */
export interface EffectiveSetting {
  readonly name: string;
  /** As text, secrets masked; `(unset)` when there is none. */
  readonly value: string;
  readonly source: Source;
}

/** Every setting as it counts for this process, in the table's order. */
export function effectiveSettings(settings: Settings): readonly EffectiveSetting[] {
  return keys.map((key) => {
    const { name, kind } = settingOf(key);
    const value = settings[key];
    return { name, value: value === undefined ? '(unset)' : kind.show(value), source: settings.sources[key] };
  });
}

/** The effective settings as aligned lines, for a terminal. */
export function describe(settings: Settings): string {
  const rows = effectiveSettings(settings);
  const width = Math.max(...rows.map(({ name }) => name.length));
  return rows.map(({ name, value, source }) => `${name.padEnd(width)}  ${value}  (${source})`).join('\n');
}
