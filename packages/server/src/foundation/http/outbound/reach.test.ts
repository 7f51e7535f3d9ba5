import { describe, expect, it } from 'vitest';

import { createReach } from './reach.js';

const open = createReach({ ports: ['80', '443'], allow: [] });

describe('an address is refused unless it is public', () => {
  it.each([
    '0.0.0.0',
    '10.0.0.1',
    '100.64.0.1',
    '100.100.100.200',
    '127.0.0.1',
    '127.255.255.254',
    '168.63.129.16',
    '169.254.169.254',
    '172.16.0.1',
    '172.31.255.255',
    '192.0.0.192',
    '192.0.2.1',
    '192.88.99.1',
    '192.168.0.1',
    '198.18.0.1',
    '198.51.100.1',
    '203.0.113.1',
    '224.0.0.1',
    '240.0.0.1',
    '255.255.255.255',
    '::',
    '::1',
    '::127.0.0.1',
    '::8.8.8.8',
    '::ffff:127.0.0.1',
    '::ffff:7f00:1',
    '::ffff:10.0.0.1',
    '::ffff:169.254.169.254',
    '::ffff:0:127.0.0.1',
    '64:ff9b::7f00:1',
    '64:ff9b::10.0.0.1',
    '64:ff9b::a9fe:a9fe',
    '64:ff9b:1::1',
    '64:ff9b:1::8.8.8.8',
    '100::1',
    '2001::1',
    '2001:0:4136:e378:8000:63bf:3fff:fdd2',
    '2001:2::1',
    '2001:20::1',
    '2001:db8::1',
    '2002:7f00:1::1',
    '2002:808:808::1',
    '3fff::1',
    '4000::1',
    '5f00::1',
    'fc00::1',
    'fd00:ec2::254',
    'fe80::1',
    'fe80::1%eth0',
    '2606:4700::1111%eth0',
    'fec0::1',
    'ff02::1',
    '',
    'localhost',
    '127.1',
    '8.8.8.8.',
  ])('%s', (address) => {
    expect(open.permits('host.test', address)).toBe(false);
  });

  it.each([
    '8.8.8.8',
    '93.184.216.34',
    '172.15.255.255',
    '172.32.0.1',
    '2606:4700::1111',
    '2a00:1450:4001:82a::200e',
    '::ffff:8.8.8.8',
    '64:ff9b::8.8.8.8',
  ])('%s is', (address) => {
    expect(open.permits('host.test', address)).toBe(true);
  });
});

describe('what the settings list', () => {
  const listed = createReach({
    ports: ['80', '443', '8080'],
    allow: ['10.1.0.0/16', '192.168.7.7', 'fd00:1::/32', 'Minio'],
  });

  it.each<[string, string, boolean]>([
    ['host.test', '10.1.2.3', true],
    ['host.test', '::ffff:10.1.2.3', true],
    ['host.test', '10.2.0.1', false],
    ['host.test', '192.168.7.7', true],
    ['host.test', '192.168.7.8', false],
    ['host.test', 'fd00:1::5', true],
    ['host.test', 'fd00:2::5', false],
    ['host.test', '64:ff9b::10.1.2.3', false],
    ['minio', '172.17.0.2', true],
    ['minio.evil.test', '172.17.0.2', false],
  ])('%s at %s: %s', (host, address, permitted) => {
    expect(listed.permits(host, address)).toBe(permitted);
  });

  it('opens ports', () => {
    expect(() => listed.checkUrl(new URL('https://host.test:8080/'))).not.toThrow();
    expect(() => listed.checkUrl(new URL('https://host.test:8081/'))).toThrow('port');
  });
});

describe('a URL', () => {
  it.each([
    'http://host.test/',
    'https://host.test/a?b#c',
    'http://host.test:443/',
    'https://host.test:80/',
    'http://8.8.8.8/',
    'http://[2606:4700::1111]/',
  ])('%s is fetched', (url) => {
    expect(() => open.checkUrl(new URL(url))).not.toThrow();
  });

  const sentence = 'The host of the URL is unknown or has an address that is not public.';
  it.each([
    // Every spelling of an address that the URL standard knows.
    'http://127.0.0.1/',
    'http://127.1/',
    'http://2130706433/',
    'http://0x7f000001/',
    'http://0x7f.0.0.0x1/',
    'http://017700000001/',
    'http://0177.0.0.1/',
    'http://127.0.0.1./',
    'http://%31%32%37.0.0.1/',
    'http://１２７。0。0。1/',
    'http://0/',
    'http://[::1]/',
    'http://[0:0:0:0:0:0:0:1]/',
    'http://[::ffff:127.0.0.1]/',
    'http://[::ffff:7f00:1]/',
    'http://[64:ff9b::127.0.0.1]/',
    'http://[2002:7f00:1::]/',
    'http://169.254.169.254/latest/meta-data/',
  ])('%s leads nowhere public', (url) => {
    expect(() => open.checkUrl(new URL(url))).toThrow(sentence);
  });

  it.each([
    ['ftp://host.test/', 'neither http nor https'],
    ['file:///etc/passwd', 'neither http nor https'],
    ['data:text/plain,hello', 'neither http nor https'],
    ['http://user@host.test/', 'user name'],
    ['http://user:secret@host.test/', 'user name'],
    ['http://:secret@host.test/', 'password'],
    ['http://host.test:22/', 'port'],
    ['http://host.test:8080/', 'port'],
    ['https://host.test:0/', 'port'],
  ])('%s is refused', (url, words) => {
    expect(() => open.checkUrl(new URL(url))).toThrow(words);
  });
});
