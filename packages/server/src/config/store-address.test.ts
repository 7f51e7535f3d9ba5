import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ConfigError, loadConfig } from '../config.js';
import { readStoreAddress, showAddress, type StoreAddress } from './store-address.js';

describe('a store on the command line', () => {
  let cwd: string;
  beforeAll(() => {
    cwd = mkdtempSync(join(tmpdir(), 'mbk-address-'));
  });
  afterAll(() => rmSync(cwd, { recursive: true }));

  const current: StoreAddress = { backend: 'disk', folder: '/srv/media/blobs' };
  const read = (text: string, env: Record<string, string> = {}, side: 'from' | 'to' = 'to'): StoreAddress =>
    readStoreAddress(text, side, { env, cwd, current, settings: loadConfig({ env, cwd }) });
  const keys = { AWS_ACCESS_KEY_ID: 'key', AWS_SECRET_ACCESS_KEY: 'secret' };

  it('is the one of the settings, or a folder', () => {
    expect(read('current')).toBe(current);
    expect(read('disk:/var/blobs')).toEqual({ backend: 'disk', folder: '/var/blobs' });
    expect(read('disk:data/blobs')).toEqual({ backend: 'disk', folder: join(cwd, 'data/blobs') });
  });

  it('is a bucket, by default as the settings of the server would have it', () => {
    expect(read('s3://media?endpoint=https://s3.example.com:9000', keys)).toEqual({
      backend: 's3',
      bucket: 'media',
      endpoint: 'https://s3.example.com:9000',
      publicEndpoint: 'https://s3.example.com:9000',
      region: 'us-east-1',
      forcePathStyle: true,
      createBucket: false,
      credentials: { accessKeyId: 'key', secretAccessKey: 'secret', sessionToken: undefined },
    });
    expect(read('s3://media?region=eu-central-1')).toMatchObject({
      endpoint: undefined,
      region: 'eu-central-1',
      forcePathStyle: false,
      credentials: undefined,
    });
    expect(
      read('s3://media?endpoint=http://127.0.0.1:1&region=here&path-style=false&create=true', keys),
    ).toMatchObject({ region: 'here', forcePathStyle: false, createBucket: true });
    expect(read('s3://media', { AWS_REGION: 'eu-west-1' })).toMatchObject({ region: 'eu-west-1' });
  });

  it('has the keys of its own side before those of the settings', () => {
    const secretFile = join(cwd, 'secret');
    writeFileSync(secretFile, 'other-secret\n');
    const env = { ...keys, AWS_ACCESS_KEY_ID_FROM: 'other', AWS_SECRET_ACCESS_KEY_FROM_FILE: secretFile };
    const address = 's3://media?endpoint=http://127.0.0.1:1';
    expect(read(address, env, 'from')).toMatchObject({
      credentials: { accessKeyId: 'other', secretAccessKey: 'other-secret' },
    });
    expect(read(address, env, 'to')).toMatchObject({ credentials: { accessKeyId: 'key' } });
    expect(() => read(address, { ...keys, AWS_ACCESS_KEY_ID_TO: 'half' })).toThrow('go together');
  });

  it.each([
    ['', 'must be disk:FOLDER'],
    ['/var/blobs', 'must be disk:FOLDER'],
    ['disk:', 'must name a folder'],
    ['disk:~/blobs', 'without ~'],
    ['https://media.example.com', 'must be disk:FOLDER'],
    ['s3://', 'must'],
    ['s3://m', 'must name a bucket'],
    ['s3://key:topsecret@media?region=x', 'must hold no credentials'],
    ['s3://media/folder?region=x', 'nothing but ?options'],
    ['s3://media?region=x#y', 'nothing but ?options'],
    ['s3://media', 'needs the region'],
    ['s3://media?endpoint=http://127.0.0.1:1', 'needs AWS_ACCESS_KEY_ID'],
    ['s3://media?endpoint=ftp://x&region=x', 'option endpoint that must'],
    ['s3://media?region=x&region=y', 'twice'],
    ['s3://media?region=x&secret=y', 'unknown option secret'],
    ['s3://media?region=x&path-style=perhaps', 'true or false'],
  ])('refuses %s', (text, why) => {
    expect(() => read(text)).toThrow(ConfigError);
    expect(() => read(text)).toThrow(why);
    expect(() => read(text)).not.toThrow('topsecret');
  });

  it('is shown without its keys', () => {
    expect(showAddress(read('s3://media?endpoint=http://127.0.0.1:1', keys))).toBe(
      's3://media?endpoint=http://127.0.0.1:1',
    );
    expect(showAddress(current)).toBe('disk:/srv/media/blobs');
  });
});
