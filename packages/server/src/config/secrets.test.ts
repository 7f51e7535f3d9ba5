import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, expect, test } from 'vitest';

import { loadOrCreateSecrets, SecretsError } from './secrets.js';
import { weakness } from './strength.js';

let data: string;
beforeEach(async () => {
  data = await mkdtemp(join(tmpdir(), 'mbk-secrets-'));
});
afterEach(async () => {
  await rm(data, { recursive: true });
});

const jwtPath = (): string => join(data, 'secrets', 'jwt-secret');

test('they are made strong, different and for the owner only', async () => {
  const secrets = await loadOrCreateSecrets(data);
  expect(weakness(secrets.jwtSecret)).toBeUndefined();
  expect(weakness(secrets.linkSecret)).toBeUndefined();
  expect(secrets.jwtSecret).not.toBe(secrets.linkSecret);
  expect((await stat(join(data, 'secrets'))).mode & 0o777).toBe(0o700);
  expect((await stat(jwtPath())).mode & 0o777).toBe(0o600);
  expect((await readdir(join(data, 'secrets'))).toSorted()).toEqual(['jwt-secret', 'link-secret']);
});

test('the data folder is made when it is not there', async () => {
  await loadOrCreateSecrets(join(data, 'a', 'b'));
  expect(await readdir(join(data, 'a', 'b'))).toEqual(['secrets']);
});

test('they stay the same', async () => {
  const first = await loadOrCreateSecrets(data);
  expect(await loadOrCreateSecrets(data)).toEqual(first);
  expect((await readFile(jwtPath(), 'utf8')).trim()).toBe(first.jwtSecret);
});

test('many callers at once get the same', async () => {
  const all = await Promise.all(Array.from({ length: 20 }, () => loadOrCreateSecrets(data)));
  expect(new Set(all.map((secrets) => JSON.stringify(secrets))).size).toBe(1);
  expect(await readdir(join(data, 'secrets'))).toHaveLength(2);
});

test('what a killed first start left behind is no obstacle', async () => {
  await mkdir(join(data, 'secrets'), { mode: 0o700 });
  await writeFile(`${jwtPath()}.0123456789abcdef`, 'half', { mode: 0o600 });
  const secrets = await loadOrCreateSecrets(data);
  expect(weakness(secrets.jwtSecret)).toBeUndefined();
});

test('a file that others can read is refused with the way out', async () => {
  await loadOrCreateSecrets(data);
  await chmod(jwtPath(), 0o640);
  await expect(loadOrCreateSecrets(data)).rejects.toThrow(
    `${jwtPath()} is open to other users (mode 0640). They may have read it; close it with: chmod 600 ${jwtPath()}`,
  );
});

test('a folder that others can enter is refused', async () => {
  await loadOrCreateSecrets(data);
  await chmod(join(data, 'secrets'), 0o755);
  await expect(loadOrCreateSecrets(data)).rejects.toThrow(/secrets is open to other users \(mode 0755\)/);
});

test('an emptied file is refused, and its content is not printed', async () => {
  const { linkSecret } = await loadOrCreateSecrets(data);
  await writeFile(jwtPath(), linkSecret.slice(0, 20));
  const refusal: unknown = await loadOrCreateSecrets(data).catch((error: unknown) => error);
  expect(refusal).toBeInstanceOf(SecretsError);
  expect(String(refusal)).toContain('is no secret of at least 32 random bytes');
  expect(String(refusal)).not.toContain(linkSecret.slice(0, 20));
});

test('a link in place of a file is refused', async () => {
  await mkdir(join(data, 'secrets'), { mode: 0o700 });
  await symlink('/etc/hostname', jwtPath());
  await expect(loadOrCreateSecrets(data)).rejects.toThrow(`${jwtPath()} must be a file and not a link.`);
});

test('a data folder that is a file is a sentence, not a crash', async () => {
  const file = join(data, 'file');
  await writeFile(file, '');
  await expect(loadOrCreateSecrets(file)).rejects.toThrow(SecretsError);
});
