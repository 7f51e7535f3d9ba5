import { resolve } from 'node:path';

import { ConfigError, type S3Settings, type Settings } from '../config.js';
import { find, readEnvFile, type Layer, type Variables } from './sources.js';
import { table, type Setting } from './table.js';

/** A store as a command line names it; has all that opens it. */
export type StoreAddress =
  { readonly backend: 'disk'; readonly folder: string } | ({ readonly backend: 's3' } & S3Settings);

export interface AddressContext {
  readonly env: Variables;
  /** Folder that relative paths count from, and of `.env`. */
  readonly cwd: string;
  readonly settings: Settings;
  /** The store of the settings, which `current` names. */
  readonly current: StoreAddress;
}

/** Which of two stores; part of the variables that hold the credentials of one of them alone. */
export type Side = 'from' | 'to';

/** What is accepted, for the help of commands. */
export const addressForms =
  'disk:FOLDER, s3://BUCKET?endpoint=URL&region=NAME&path-style=true, or current for the store of the settings';

/**
 * Reads `disk:…`, `s3://…` or `current`. Keys come from `AWS_ACCESS_KEY_ID_FROM` and so on (`_TO` for the other
 * side), else from the settings; a command line is seen by every user of the machine and never holds them.
 * @throws ConfigError naming the option and not its value.
 */
export function readStoreAddress(text: string, side: Side, context: AddressContext): StoreAddress {
  const fault = (why: string): ConfigError => new ConfigError([`--${side} ${why}`]);
  if (text === 'current') return context.current;
  if (text.startsWith('disk:')) {
    const path = text.slice('disk:'.length);
    if (path === '' || path.includes('\0')) throw fault('must name a folder behind disk:');
    // No shell expands it there, and a folder of this name would be made.
    if (path.startsWith('~')) throw fault('must name the folder in full, without ~.');
    return { backend: 'disk', folder: resolve(context.cwd, path) };
  }
  if (!text.startsWith('s3://') || !URL.canParse(text)) throw fault(`must be ${addressForms}.`);
  const url = new URL(text);
  if (url.username !== '' || url.password !== '') {
    throw fault(
      `must hold no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (${suffixed(side)}).`,
    );
  }
  if (url.port !== '' || (url.pathname !== '' && url.pathname !== '/') || url.hash !== '') {
    throw fault('must have nothing but ?options behind the bucket: keys begin at its root.');
  }
  const options = new Map<string, string>();
  for (const [name, value] of url.searchParams) {
    if (!optionNames.has(name))
      throw fault(`has an unknown option ${name}; there are ${[...optionNames].join(', ')}.`);
    if (options.has(name)) throw fault(`names the option ${name} twice.`);
    options.set(name, value);
  }
  const option = <T>(name: string, { kind }: Setting<T>): T | undefined => {
    const value = options.get(name);
    if (value === undefined) return undefined;
    const parsed = kind.parse(value, context.cwd);
    if ('fault' in parsed) throw fault(`has an option ${name} that must ${parsed.fault}.`);
    return parsed.value;
  };
  const bucket = table.s3Bucket.kind.parse(url.hostname, context.cwd);
  if ('fault' in bucket || bucket.value === undefined) throw fault('must name a bucket behind s3://.');
  const endpoint = option('endpoint', table.s3Endpoint);
  const region =
    option('region', table.s3Region) ??
    context.settings.awsRegion ??
    (endpoint === undefined ? undefined : 'us-east-1');
  if (region === undefined) throw fault('needs the region of the bucket: s3://BUCKET?region=NAME.');
  const credentials = credentialsOf(side, context);
  if (endpoint !== undefined && credentials === undefined) {
    throw fault(
      `names an endpoint and needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (${suffixed(side)}).`,
    );
  }
  return {
    backend: 's3',
    bucket: bucket.value,
    endpoint,
    publicEndpoint: endpoint,
    region,
    forcePathStyle: option('path-style', table.s3ForcePathStyle) ?? endpoint !== undefined,
    createBucket: option('create', table.s3CreateBucket) ?? false,
    credentials,
  };
}

const optionNames = new Set(['endpoint', 'region', 'path-style', 'create']);

const suffixed = (side: Side): string => `or the same with _${side.toUpperCase()} for this side alone`;

/** The store as text without anything secret: for messages, and to recognise it. */
export function showAddress(address: StoreAddress): string {
  if (address.backend === 'disk') return `disk:${address.folder}`;
  const { bucket, endpoint, region } = address;
  return endpoint === undefined ? `s3://${bucket}?region=${region}` : `s3://${bucket}?endpoint=${endpoint}`;
}

/** The side's own credentials, else those of the settings, else what the AWS SDK finds (undefined). */
function credentialsOf(side: Side, { env, cwd, settings }: AddressContext): S3Settings['credentials'] {
  const layers: readonly Layer[] = [
    { source: 'environment', variables: env },
    { source: '.env', variables: readEnvFile(cwd).variables },
  ];
  const own = <T>({ name, kind }: Setting<T>): T | undefined => {
    const variable = `${name}_${side.toUpperCase()}`;
    const found = find(variable, layers, cwd);
    if (found === undefined) return undefined;
    if ('fault' in found) throw new ConfigError([found.fault]);
    const parsed = kind.parse(found.text, cwd);
    if ('fault' in parsed) throw new ConfigError([`${variable} must ${parsed.fault}.`]);
    return parsed.value;
  };
  const accessKeyId = own(table.awsAccessKeyId);
  const secretAccessKey = own(table.awsSecretAccessKey);
  const sessionToken = own(table.awsSessionToken);
  if ((accessKeyId === undefined) !== (secretAccessKey === undefined)) {
    const suffix = side.toUpperCase();
    throw new ConfigError([`AWS_ACCESS_KEY_ID_${suffix} and AWS_SECRET_ACCESS_KEY_${suffix} go together.`]);
  }
  if (accessKeyId !== undefined && secretAccessKey !== undefined) {
    return { accessKeyId, secretAccessKey, sessionToken };
  }
  const { awsAccessKeyId, awsSecretAccessKey, awsSessionToken } = settings;
  return awsAccessKeyId !== undefined && awsSecretAccessKey !== undefined
    ? { accessKeyId: awsAccessKeyId, secretAccessKey: awsSecretAccessKey, sessionToken: awsSessionToken }
    : undefined;
}
