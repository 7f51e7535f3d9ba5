import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { availableParallelism, tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { inspect } from 'node:util';

import fc from 'fast-check';
import { afterEach, beforeEach, describe as suite, expect, test } from 'vitest';

import { ConfigError, describe, effectiveSettings, loadConfig, type Settings } from './config.js';
import { settingsPage } from './config/page.js';
import { groups, table } from './config/table.js';

const secret = (): string => randomBytes(32).toString('base64');

let cwd: string;
beforeEach(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'mbk-config-'));
});
afterEach(async () => {
  await rm(cwd, { recursive: true });
});

const load = (env: Record<string, string>, more: { demandSecrets?: boolean } = {}): Settings =>
  loadConfig({ env, cwd, ...more });

function faultsOf(env: Record<string, string>): readonly string[] {
  try {
    load(env);
  } catch (error) {
    if (error instanceof ConfigError) return error.faults;
    throw error;
  }
  return [];
}

const external = (): Record<string, string> => ({
  DATABASE_URL: 'postgres://me:hunter22@db.example.com:5433/media',
  MBK_JWT_SECRET: secret(),
  MBK_LINK_SECRET: secret(),
});

suite('without anything set', () => {
  test('the embedded default is configured', () => {
    expect(load({})).toMatchObject({
      host: '127.0.0.1',
      port: 8420,
      publicUrl: 'http://localhost:8420',
      dataFolder: join(cwd, 'mediablobkit-data'),
      databaseUrl: undefined,
      databaseDirectUrl: undefined,
      store: 'disk',
      jwtSecret: undefined,
      accessTokenLifetimeMs: 900_000,
      refreshTokenLifetimeMs: 2_592_000_000,
      jobLeaseMs: 30_000,
      maxUploadBytes: 5 * 1024 ** 3,
      uploadMinThroughput: 1024,
      defaultQuotaBytes: undefined,
      imagingProcesses: availableParallelism(),
      svg: 'store',
      ffmpeg: 'auto',
      programFolders: [],
      trustProxy: [],
      corsOrigins: [],
    });
  });

  test('other programs are looked for where the environment says', () => {
    expect(load({ PATH: ['/usr/bin', '', '/opt/bin'].join(delimiter) }).programFolders).toEqual([
      '/usr/bin',
      '/opt/bin',
    ]);
  });

  test('every value stands as its default', () => {
    expect(new Set(Object.values(load({}).sources))).toEqual(new Set(['default']));
  });

  test('the settings are frozen', () => {
    const settings = load({});
    expect(() => Object.assign(settings, { port: 1 })).toThrow(TypeError);
    expect(() => Object.assign(settings.sources, { port: 'file' })).toThrow(TypeError);
  });
});

suite('sources', () => {
  test('the environment wins over .env', async () => {
    await writeFile(join(cwd, '.env'), 'PORT=9000\nHOST=0.0.0.0\n# a comment\n');
    const settings = load({ PORT: '9001' });
    expect(settings).toMatchObject({ port: 9001, host: '0.0.0.0' });
    expect(settings.sources).toMatchObject({ port: 'environment', host: '.env', logLevel: 'default' });
  });

  test('NAME_FILE gives the content of a file without the line end', async () => {
    const value = secret();
    await writeFile(join(cwd, 'jwt'), `${value}\r\n`);
    const settings = load({ MBK_JWT_SECRET_FILE: 'jwt' });
    expect(settings.jwtSecret).toBe(value);
    expect(settings.sources.jwtSecret).toBe('file');
  });

  test('standard names have the file form too', async () => {
    await writeFile(join(cwd, 'port'), '9002\n');
    expect(load({ PORT_FILE: join(cwd, 'port') }).port).toBe(9002);
  });

  test('a file named in the environment wins over a value in .env', async () => {
    await writeFile(join(cwd, '.env'), 'PORT=9000\n');
    await writeFile(join(cwd, 'port'), '9002');
    expect(load({ PORT_FILE: 'port' }).port).toBe(9002);
  });

  test('both forms at once are a fault', async () => {
    await writeFile(join(cwd, 'port'), '9002');
    expect(faultsOf({ PORT: '9001', PORT_FILE: 'port' })).toEqual([
      'PORT and PORT_FILE are both set; keep one of them.',
    ]);
  });

  test('a file that cannot be read, is a folder, empty or huge is a fault that does not tell its path', async () => {
    await writeFile(join(cwd, 'empty'), '\n');
    await writeFile(join(cwd, 'huge'), 'a'.repeat(70_000));
    expect(
      faultsOf({
        MBK_JWT_SECRET_FILE: 'no-such-file',
        MBK_LINK_SECRET_FILE: cwd,
        LOG_LEVEL_FILE: 'empty',
        HOST_FILE: 'huge',
        PORT_FILE: '',
      }).toSorted(),
    ).toEqual([
      'HOST_FILE names a file that is too long for HOST.',
      'LOG_LEVEL_FILE names an empty file.',
      'MBK_JWT_SECRET_FILE names a file that cannot be read (ENOENT).',
      'MBK_LINK_SECRET_FILE names a file that cannot be read (EISDIR).',
      'PORT_FILE is set but empty; give it a path or remove it.',
    ]);
  });

  test('a .env that cannot be read is a fault', async () => {
    await mkdir(join(cwd, '.env'));
    expect(faultsOf({})).toEqual(['.env cannot be read (EISDIR).']);
  });
});

suite('faults', () => {
  test('all are reported at once', () => {
    const faults = faultsOf({
      PORT: 'eighty',
      MBK_MAX_PIXELS: '0',
      MBK_STORE: 'tape',
      MBK_JOB_LEASE: '30',
      MBK_MAX_UPLOAD_BYTES: '5 potatoes',
      MBK_PUBLIC_URL: 'media.example.com',
      MBK_CORS_ORIGINS: 'https://app.example.com/',
      MBK_TRUST_PROXY: '10.0.0.0/99',
      MBK_S3_CREATE_BUCKET: 'maybe',
      DATABASE_URL: 'mysql://localhost/x',
      LOG_LEVEL: '',
      MBK_UPLAOD_STALE: '5m',
    });
    expect(faults.map((fault) => fault.split(' ')[0]).toSorted()).toEqual([
      'DATABASE_URL',
      'LOG_LEVEL',
      'MBK_CORS_ORIGINS',
      'MBK_JOB_LEASE',
      'MBK_JWT_SECRET',
      'MBK_LINK_SECRET',
      'MBK_MAX_PIXELS',
      'MBK_MAX_UPLOAD_BYTES',
      'MBK_PUBLIC_URL',
      'MBK_S3_CREATE_BUCKET',
      'MBK_STORE',
      'MBK_TRUST_PROXY',
      'MBK_UPLAOD_STALE',
      'PORT',
    ]);
  });

  test('each says what is expected', () => {
    expect(faultsOf({ PORT: '70000' })).toEqual(['PORT must be a whole number from 1 to 65535.']);
    expect(faultsOf({ LOG_LEVEL: ' ' })).toEqual([
      'LOG_LEVEL is set but empty; give it a value or remove it.',
    ]);
  });

  test('the error’s message lists them', () => {
    expect(() => load({ PORT: '-1', MBK_STORE: 'x' })).toThrow(
      'The settings have 2 faults:\n  - PORT must be a whole number from 1 to 65535.\n  - MBK_STORE must be one of auto, disk, s3.',
    );
  });

  test('no value is ever printed', () => {
    const names = Object.values(table).map(({ name }) => name);
    const garbage = fc.stringMatching(/^[A-Za-z0-9:/@?#%\\ ]{0,20}$/).map((noise) => `Zq7${noise}Zq7`);
    fc.assert(
      fc.property(fc.constantFrom(...names), garbage, (name, value) => {
        for (const variable of [name, `${name}_FILE`]) {
          const { DATABASE_URL: url, ...rest } = external();
          const env: Record<string, string> = { ...rest, DATABASE_URL: url ?? '', [variable]: value };
          if (variable.endsWith('_FILE')) Reflect.deleteProperty(env, name);
          for (const fault of faultsOf(env)) expect(fault).not.toContain('Zq7');
        }
      }),
      { numRuns: 150, seed: 1 },
    );
  });
});

suite('unknown names', () => {
  test.each([
    ['MBK_UPLOAD_STAEL', 'MBK_UPLOAD_STALE'],
    ['MBK_PUBLICURL', 'MBK_PUBLIC_URL'],
    ['MBK_PORT', 'PORT'],
    ['MBK_DATABASE_URL', 'DATABASE_URL'],
    ['mbk_store', 'MBK_STORE'],
    ['MBK_JWT_SECRET_FIEL', 'MBK_JWT_SECRET_FILE'],
  ])('%s is refused and %s suggested', (name, meant) => {
    expect(faultsOf({ [name]: 'x' })).toEqual([`${name} is no setting; did you mean ${meant}?`]);
  });

  test('nothing is suggested where nothing is near', () => {
    expect(faultsOf({ MBK_XYZZY_PLUGH: 'x' })).toEqual(['MBK_XYZZY_PLUGH is no setting.']);
  });

  test('one in .env is refused too', async () => {
    await writeFile(join(cwd, '.env'), 'MBK_STOER=disk\n');
    expect(faultsOf({})).toEqual(['MBK_STOER is no setting; did you mean MBK_STORE?']);
  });

  test('names of others are none of ours', () => {
    expect(
      faultsOf({ PATH: '/bin', OTEL_SERVICE_NAME: 'media', TEST_DATABASE_URL: 'x', AWS_PROFILE: 'p' }),
    ).toEqual([]);
  });
});

suite('secrets', () => {
  test('are demanded with DATABASE_URL', () => {
    expect(faultsOf({ DATABASE_URL: 'postgres://localhost/media' })).toEqual([
      'MBK_JWT_SECRET is missing: with DATABASE_URL it must be set. Make one with: openssl rand -base64 32',
      'MBK_LINK_SECRET is missing: with DATABASE_URL it must be set. Make one with: openssl rand -base64 32',
    ]);
  });

  test('are not demanded by commands that sign nothing', () => {
    const settings = load({ DATABASE_URL: 'postgres://localhost/media' }, { demandSecrets: false });
    expect(settings).toMatchObject({ jwtSecret: undefined, databaseDirectUrl: 'postgres://localhost/media' });
  });

  test('a weak one is one fault, not also a missing one', () => {
    expect(faultsOf({ ...external(), MBK_JWT_SECRET: 'changeme' })).toEqual([
      'MBK_JWT_SECRET must hold at least 32 random bytes, but it is shorter than 32 characters; make one with: openssl rand -base64 32.',
    ]);
  });

  test('must differ', () => {
    const same = secret();
    expect(faultsOf({ MBK_JWT_SECRET: same, MBK_LINK_SECRET: same })).toEqual([
      'MBK_JWT_SECRET and MBK_LINK_SECRET must differ; make one of them anew.',
    ]);
    const [jwt, link] = [secret(), secret()];
    const both = { MBK_JWT_SECRET: jwt, MBK_LINK_SECRET: link };
    expect(faultsOf({ ...both, MBK_LINK_SECRET_PREVIOUS: link })).toEqual([
      'MBK_LINK_SECRET_PREVIOUS must be the secret of before, not that of MBK_LINK_SECRET.',
    ]);
    expect(faultsOf({ ...both, MBK_LINK_SECRET_PREVIOUS: jwt })).toEqual([
      'MBK_LINK_SECRET_PREVIOUS and MBK_JWT_SECRET must differ.',
    ]);
    expect(load({ ...both, MBK_LINK_SECRET_PREVIOUS: same }).linkSecretPrevious).toBe(same);
  });

  test('are masked wherever the settings are shown', () => {
    const [jwtSecret, linkSecret, previous] = [secret(), secret(), secret()];
    const settings = load({
      ...external(),
      ...s3(),
      MBK_JWT_SECRET: jwtSecret,
      MBK_LINK_SECRET: linkSecret,
      MBK_LINK_SECRET_PREVIOUS: previous,
      AWS_SESSION_TOKEN: 'token-of-mine',
    });
    const shown = [
      describe(settings),
      JSON.stringify({ settings }),
      inspect(settings),
      inspect({ settings }),
    ];
    for (const text of shown) {
      for (const hidden of [jwtSecret, linkSecret, previous, 'hunter22', 'AKIA123', 'wJalr', 'token-of-mine'])
        expect(text).not.toContain(hidden);
      expect(text).toContain('postgres://db.example.com:5433/media');
    }
    expect(settings.databaseUrl).toContain('hunter22');
  });
});

function s3(): Record<string, string> {
  return {
    MBK_S3_BUCKET: 'media',
    MBK_S3_ENDPOINT: 'http://127.0.0.1:9000',
    AWS_ACCESS_KEY_ID: 'AKIA123',
    AWS_SECRET_ACCESS_KEY: 'wJalr',
  };
}

suite('the store', () => {
  test('is S3 when a bucket is set', () => {
    expect(load(s3())).toMatchObject({
      store: 's3',
      s3Region: 'us-east-1',
      s3ForcePathStyle: true,
      s3PublicEndpoint: 'http://127.0.0.1:9000',
    });
  });

  test('is handed over in one piece', () => {
    expect(load({ ...s3(), MBK_S3_PUBLIC_ENDPOINT: 'https://blobs.example.com' }).s3).toEqual({
      bucket: 'media',
      endpoint: 'http://127.0.0.1:9000',
      publicEndpoint: 'https://blobs.example.com',
      region: 'us-east-1',
      forcePathStyle: true,
      createBucket: false,
      credentials: { accessKeyId: 'AKIA123', secretAccessKey: 'wJalr', sessionToken: undefined },
    });
  });

  test('is the disk when that is asked for', () => {
    expect(load({ ...s3(), MBK_STORE: 'disk' })).toMatchObject({ store: 'disk', s3: undefined });
  });

  test('on AWS takes AWS_REGION and leaves credentials to the SDK', () => {
    expect(load({ MBK_S3_BUCKET: 'media', AWS_REGION: 'eu-west-1' })).toMatchObject({
      store: 's3',
      s3Region: 'eu-west-1',
      s3ForcePathStyle: false,
      s3: { endpoint: undefined, credentials: undefined },
    });
  });

  test.each([
    [{ MBK_STORE: 's3', AWS_REGION: 'eu-west-1' }, ['MBK_S3_BUCKET']],
    [{ MBK_S3_ENDPOINT: 'http://127.0.0.1:9000' }, ['MBK_S3_BUCKET']],
    [{ MBK_S3_CREATE_BUCKET: 'true' }, ['MBK_S3_BUCKET']],
    [{ MBK_S3_BUCKET: 'media' }, ['MBK_S3_REGION']],
    [{ MBK_S3_BUCKET: 'media', MBK_S3_REGION: 'x', AWS_ACCESS_KEY_ID: 'a' }, ['AWS_SECRET_ACCESS_KEY']],
    [{ MBK_S3_BUCKET: 'media', MBK_S3_REGION: 'x', AWS_SECRET_ACCESS_KEY: 'a' }, ['AWS_ACCESS_KEY_ID']],
    [
      { MBK_S3_BUCKET: 'media', MBK_S3_ENDPOINT: 'http://127.0.0.1:9000' },
      ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY'],
    ],
  ])('%o lacks %o', (env, names) => {
    const faults = faultsOf(Object.fromEntries(Object.entries(env)));
    expect(faults.map((fault) => fault.split(' is missing')[0])).toEqual(names);
  });
});

suite('rules between settings', () => {
  test('a direct URL needs the other one', () => {
    expect(faultsOf({ MBK_DATABASE_DIRECT_URL: 'postgres://localhost/media' })).toEqual([
      'DATABASE_URL is missing: MBK_DATABASE_DIRECT_URL is set and needs it beside.',
    ]);
  });

  test('sessions outlive access tokens', () => {
    expect(faultsOf({ MBK_ACCESS_TOKEN_LIFETIME: '1h', MBK_REFRESH_TOKEN_LIFETIME: '30m' })).toHaveLength(1);
  });

  test('links follow the port unless a public URL is set', () => {
    expect(load({ PORT: '9000' }).publicUrl).toBe('http://localhost:9000');
    expect(load({ MBK_PUBLIC_URL: 'https://example.com/media' }).publicUrl).toBe('https://example.com/media');
  });

  test('a worker runs as many jobs as it has imaging processes, at least four', () => {
    expect(load({ MBK_IMAGING_PROCESSES: '2' }).jobConcurrency).toBe(4);
    expect(load({ MBK_IMAGING_PROCESSES: '6' }).jobConcurrency).toBe(6);
    expect(load({ MBK_IMAGING_PROCESSES: '6', MBK_JOB_CONCURRENCY: '3' }).jobConcurrency).toBe(3);
  });
});

suite('shown to a person', () => {
  test('the effective settings name each setting once, with its source', () => {
    const rows = effectiveSettings(load({ MBK_MAX_UPLOAD_BYTES: '2048KiB', MBK_JOB_LEASE: '90s' }));
    expect(rows.map(({ name }) => name)).toEqual(Object.values(table).map(({ name }) => name));
    expect(rows).toContainEqual({ name: 'MBK_MAX_UPLOAD_BYTES', value: '2MiB', source: 'environment' });
    expect(rows).toContainEqual({ name: 'MBK_JOB_LEASE', value: '90s', source: 'environment' });
    expect(rows).toContainEqual({ name: 'DATABASE_URL', value: '(unset)', source: 'default' });
  });

  test('what is shown is read back as the same value', () => {
    const settings = load({});
    for (const { name, value } of effectiveSettings(settings)) {
      if (value === '(unset)') continue;
      expect(() => load({ [name]: value })).not.toThrow();
    }
  });

  test('the settings page has a section for every setting', () => {
    const page = settingsPage();
    for (const group of groups) expect(page).toContain(`\n## ${group}\n`);
    for (const { name } of Object.values(table)) expect(page.split(`### \`${name}\`\n`)).toHaveLength(2);
  });

  test('every default in the table is one that its kind takes', () => {
    for (const setting of Object.values(table))
      if ('standard' in setting && setting.standard !== undefined)
        expect(setting.kind.parse(setting.standard, cwd), setting.name).toHaveProperty('value');
  });
});
