import { stat } from 'node:fs/promises';
import { join } from 'node:path';

import { loadOrCreateSecrets } from '../../config/secrets.js';
import type { Settings } from '../../config.js';
import { fail, none, ok, reasonOf, warn, type Diagnosis, type DoctorCheck } from './diagnosis.js';

/** What is set and fits no installation that others use. */
export const settingsChecks: readonly DoctorCheck[] = [
  { name: 'public-url', look: ({ settings }) => judgePublicUrl(settings) },
  { name: 'proxy', look: ({ settings }) => judgeProxy(settings) },
  { name: 'secrets', look: ({ settings }) => secrets(settings) },
];

type Addresses = Pick<Settings, 'publicUrl' | 'host' | 'databaseUrl' | 'store' | 'trustProxy'>;

/** Whether others than this machine are to reach the server. */
function isForOthers({ host, databaseUrl, store }: Addresses): boolean {
  return !isLoopback(host) || databaseUrl !== undefined || store === 's3';
}

function isLoopback(host: string): boolean {
  return (
    host === 'localhost' || host.endsWith('.localhost') || host.startsWith('127.') || /^\[?::1\]?$/.test(host)
  );
}

/** Every link in an answer begins with it. */
export function judgePublicUrl(settings: Addresses): Diagnosis {
  const { protocol, hostname } = new URL(settings.publicUrl);
  if (isLoopback(hostname)) {
    return isForOthers(settings)
      ? warn(
          settings.publicUrl,
          'Links lead to this machine only. Set MBK_PUBLIC_URL to where clients reach the server.',
        )
      : ok(`${settings.publicUrl}, for this machine only`);
  }
  if (protocol === 'https:') return ok(settings.publicUrl);
  return warn(
    settings.publicUrl,
    'Passwords and tokens travel in the clear. Put a proxy with TLS in front, and https into MBK_PUBLIC_URL.',
  );
}

/** The server itself speaks plain HTTP, so https means that there is a proxy. */
export function judgeProxy(settings: Addresses): Diagnosis {
  const isBehind = new URL(settings.publicUrl).protocol === 'https:';
  if (!isBehind) return ok('none is expected: the public URL is plain http');
  if (settings.trustProxy.length > 0) return ok(`${settings.trustProxy.length} trusted`);
  return warn(
    'the public URL is https, and no proxy is trusted',
    'All callers look like the proxy, and share its limits. Set MBK_TRUST_PROXY to its address.',
  );
}

async function secrets(settings: Settings): Promise<Diagnosis> {
  const { jwtSecret, linkSecret, databaseUrl, dataFolder } = settings;
  // Weak ones are refused when the settings are read.
  if (jwtSecret !== undefined && linkSecret !== undefined) return ok('set in the environment');
  if (databaseUrl !== undefined) {
    return fail(
      'MBK_JWT_SECRET or MBK_LINK_SECRET is not set',
      'With DATABASE_URL both must be set, alike in every process. Make each with: openssl rand -base64 32',
    );
  }
  if (!(await isThere(join(dataFolder, 'secrets', 'link-secret')))) return none('the first start makes them');
  try {
    await loadOrCreateSecrets(dataFolder);
    return ok('in the data folder, for the owner alone');
  } catch (error) {
    return fail('those in the data folder cannot be used', reasonOf(error));
  }
}

async function isThere(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}
