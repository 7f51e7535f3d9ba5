import { describe, expect, test } from 'vitest';

import * as kinds from './kinds.js';
import type { Kind } from './kinds.js';

const refused = Symbol('refused');

function read<T>(kind: Kind<T>, text: string): T | typeof refused {
  const parsed = kind.parse(text, '/home/me');
  return 'value' in parsed ? parsed.value : refused;
}

describe('a whole number', () => {
  const kind = kinds.integer({ min: 1, max: 100 });
  test.each([
    ['1', 1],
    ['100', 100],
    ['007', 7],
    ['0', refused],
    ['101', refused],
    ['1.5', refused],
    ['-1', refused],
    ['1e1', refused],
    ['0x10', refused],
    ['٣', refused],
  ])('%s', (text, value) => {
    expect(read(kind, text)).toBe(value);
  });
});

describe('a size in bytes', () => {
  const kind = kinds.byteSize({ min: '1', max: '5TiB' });
  test.each([
    ['5GiB', 5 * 1024 ** 3],
    ['5GB', 5 * 1024 ** 3],
    ['5g', 5 * 1024 ** 3],
    ['1.5 KiB', 1536],
    ['512', 512],
    ['512B', 512],
    ['2TiB', 2 * 1024 ** 4],
    ['0', refused],
    ['6TiB', refused],
    ['5 potatoes', refused],
    ['5iB', refused],
    ['-5MiB', refused],
    ['1e9', refused],
    ['', refused],
  ])('%s', (text, value) => {
    expect(read(kind, text)).toBe(value);
  });

  test('is shown in the largest unit without a rest', () => {
    expect([1024, 1536, 5 * 1024 ** 3, 0].map(kind.show)).toEqual(['1KiB', '1536B', '5GiB', '0']);
  });
});

describe('another program', () => {
  test.each([
    ['auto', 'auto'],
    ['off', 'off'],
    ['/usr/local/bin/ffmpeg', '/usr/local/bin/ffmpeg'],
    ['ffmpeg', refused],
    ['./ffmpeg', refused],
    ['/usr/bin/ffmpeg\n-y', refused],
    ['', refused],
  ])('%j', (text, value) => {
    expect(read(kinds.program(), text)).toBe(value);
  });
});

describe('a duration', () => {
  const kind = kinds.duration({ min: '1s', max: '30d' });
  test.each([
    ['30s', 30_000],
    ['1500ms', 1500],
    ['1.5s', 1500],
    ['5m', 300_000],
    ['24h', 86_400_000],
    ['30d', 2_592_000_000],
    ['31d', refused],
    ['999ms', refused],
    ['30', refused],
    ['30 s', refused],
    ['-5m', refused],
    ['5M', refused],
  ])('%s', (text, value) => {
    expect(read(kind, text)).toBe(value);
  });

  test('is shown in the largest unit without a rest', () => {
    expect([86_400_000, 90_000, 1500, 0].map(kind.show)).toEqual(['1d', '90s', '1500ms', '0s']);
  });
});

describe('a rate', () => {
  const kind = kinds.rate();
  test.each([
    ['100/15m', { points: 100, seconds: 900 }],
    ['1/1s', { points: 1, seconds: 1 }],
    ['none', null],
    ['0/1m', refused],
    ['100', refused],
    ['100/', refused],
    ['100/1500ms', refused],
    ['100/31d', refused],
    ['-1/1m', refused],
    ['1e3/1m', refused],
  ])('%s', (text, value) => {
    expect(read(kind, text)).toEqual(value);
  });

  test('is shown as it is written', () => {
    expect([kind.show({ points: 10, seconds: 900 }), kind.show(null)]).toEqual(['10/15m', 'none']);
  });
});

describe('yes or no', () => {
  test.each([
    ['true', true],
    ['1', true],
    ['on', true],
    ['FALSE', false],
    ['no', false],
    ['2', refused],
    ['ja', refused],
  ])('%s', (text, value) => {
    expect(read(kinds.flag(), text)).toBe(value);
  });
});

describe('a web URL', () => {
  test.each([
    ['http://localhost:8420', true],
    ['https://example.com/media', true],
    ['https://example.com/media/', false],
    ['https://example.com/', false],
    ['https://user:password@example.com', false],
    ['https://example.com/?a=b', false],
    ['https://example.com/#a', false],
    ['https:\\\\example.com', false],
    ['https:example.com', false],
    ['ftp://example.com', false],
    ['https://example.com/a b', false],
    ['https://', false],
    ['https://example.com:99999', false],
  ])('%s: %s', (text, accepted) => {
    expect(read(kinds.webUrl({ path: 'allowed' }), text)).toBe(accepted ? text : refused);
  });

  test('without a path where none is allowed', () => {
    expect(read(kinds.webUrl({ path: 'refused' }), 'https://example.com/a')).toBe(refused);
  });
});

describe('a PostgreSQL URL', () => {
  const kind = kinds.postgresUrl();
  test.each([
    ['postgres://me:secret@db:5432/media', 'postgres://db:5432/media'],
    ['postgresql://db/media?sslmode=require&password=secret', 'postgresql://db/media'],
    ['postgres://me@/media?host=/run/postgresql&port=5432', 'postgres://localhost/media'],
    ['postgres:///media?host=/run/postgresql', 'postgres://localhost/media'],
  ])('%s is shown as %s', (text, shown) => {
    expect(read(kind, text)).toBe(text);
    expect(kind.show(text)).toBe(shown);
  });

  test.each([
    'mysql://db/media',
    'postgres://db',
    'postgres://db/',
    'postgres://d b/media',
    'db/media',
    'postgres://',
  ])('%s is refused', (text) => {
    expect(read(kind, text)).toBe(refused);
  });
});

describe('lists', () => {
  test.each([
    ['https://app.example.com', ['https://app.example.com']],
    ['https://a.example.com, http://localhost:5173', ['https://a.example.com', 'http://localhost:5173']],
    ['*', ['*']],
    ['none', []],
    ['https://a.example.com,', refused],
    ['https://a.example.com/path', refused],
    ['https://A.example.com', refused],
    ['null', refused],
  ])('origins: %s', (text, value) => {
    expect(read(kinds.origins(), text)).toEqual(value);
  });

  test.each([
    ['127.0.0.1', ['127.0.0.1']],
    ['loopback, 10.0.0.0/8,fd00::/8', ['loopback', '10.0.0.0/8', 'fd00::/8']],
    ['none', []],
    ['true', refused],
    ['10.0.0.0/33', refused],
    ['10.0.0.0/8/8', refused],
    ['10.0.0/8', refused],
    ['::1/129', refused],
  ])('addresses: %s', (text, value) => {
    expect(read(kinds.addresses(), text)).toEqual(value);
  });

  test.each([
    ['80, 443', ['80', '443']],
    ['65535', ['65535']],
    ['none', []],
    ['0', refused],
    ['080', refused],
    ['65536', refused],
    ['80-90', refused],
    ['http', refused],
  ])('ports: %s', (text, value) => {
    expect(read(kinds.ports(), text)).toEqual(value);
  });

  test.each([
    ['10.0.0.0/8, fd00::/8,192.168.1.1', ['10.0.0.0/8', 'fd00::/8', '192.168.1.1']],
    ['minio, files.inner.example, a_b', ['minio', 'files.inner.example', 'a_b']],
    ['none', []],
    ['10.0.0.0/33', refused],
    ['10.0.0/8', refused],
    ['127.1', refused],
    ['minio:9000', refused],
    ['http://minio', refused],
    ['*', refused],
    ['-a', refused],
    ['a..b', refused],
  ])('hosts: %s', (text, value) => {
    expect(read(kinds.hosts(), text)).toEqual(value);
  });
});

test('a folder counts from the working folder', () => {
  expect(read(kinds.folder(), './data')).toBe('/home/me/data');
  expect(read(kinds.folder(), '/srv/data')).toBe('/srv/data');
  expect(read(kinds.folder(), 'a\0b')).toBe(refused);
});
