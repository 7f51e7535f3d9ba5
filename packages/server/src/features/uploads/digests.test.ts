import { createHash } from 'node:crypto';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { noise } from '../../../test/fixtures/noise.js';
import {
  createUploadKit,
  multipartBody,
  multipartType,
  nothing,
  type TestPart,
  type UploadKit,
} from '../../../test/upload-kit.js';

let kit: UploadKit;
beforeAll(async () => {
  kit = await createUploadKit();
});
afterAll(() => kit.close());

const content = noise(300_000);
const digest = (algorithm: string, of: Buffer = content): Buffer => createHash(algorithm).update(of).digest();
const member = (algorithm: 'sha-256' | 'sha-512', of: Buffer = content): string =>
  `${algorithm}=:${digest(algorithm.replace('-', ''), of).toString('base64')}:`;
const other = Buffer.from('something else');

function sendRaw(projectId: string, headers: Record<string, string>, query = ''): Promise<Response> {
  return fetch(`${kit.url}/projects/${projectId}/upload${query}`, {
    method: 'PUT',
    headers,
    body: new Uint8Array(content),
  });
}

function sendForm(projectId: string, parts: readonly TestPart[], query: string): Promise<Response> {
  return fetch(`${kit.url}/projects/${projectId}/upload${query}`, {
    method: 'POST',
    headers: { 'content-type': multipartType, 'content-digest': member('sha-256', other) },
    body: new Uint8Array(multipartBody(parts)),
  });
}

async function refused(projectId: string, answer: Response, status: number, code: string): Promise<unknown> {
  expect(answer.status).toBe(status);
  const problem = (await answer.json()) as { code: string; errors: unknown };
  expect(problem.code).toBe(code);
  expect(await kit.leftovers(projectId)).toEqual(nothing);
  expect(await kit.usage(projectId)).toEqual({ bytes: 0, files: 0, reserved: 0, reservedFiles: 0 });
  return problem.errors;
}

describe('a raw body with Content-Digest', () => {
  it.each([
    ['its SHA-256', member('sha-256')],
    ['its SHA-512', member('sha-512')],
    ['both', `${member('sha-512')}, ${member('sha-256')}`],
    ['an unknown algorithm', 'md5=:AAAA:'],
  ])('of %s is stored', async (_name, field) => {
    const answer = await sendRaw(await kit.project(), { 'content-digest': field });
    expect(answer.status).toBe(201);
    expect(await answer.json()).toMatchObject({ size: 300_000, sha256: digest('sha256').toString('hex') });
  });

  it.each([
    ['another SHA-256', member('sha-256', other)],
    ['another SHA-512', member('sha-512', other)],
    ['one that fits and one that does not', `${member('sha-256')}, ${member('sha-512', other)}`],
  ])('of %s is refused and leaves nothing', async (_name, field) => {
    const project = await kit.project();
    const answer = await sendRaw(project, { 'content-digest': field });
    const errors = await refused(project, answer, 422, 'digest-mismatch');
    expect(errors).toMatchObject([{ pointer: '#/headers/content-digest' }]);
  });

  it('that is malformed is refused', async () => {
    const project = await kit.project();
    const answer = await sendRaw(project, { 'content-digest': 'sha-256=abc' });
    const errors = await refused(project, answer, 400, 'invalid-request');
    expect(errors).toMatchObject([{ pointer: '#/headers/content-digest' }]);
  });
});

describe('?sha256=', () => {
  const right = digest('sha256').toString('hex');
  const wrong = digest('sha256', other).toString('hex');
  const file: TestPart = { filename: 'a.bin', content };

  it('that is right lets a raw body in, in either case', async () => {
    const project = await kit.project();
    expect((await sendRaw(project, {}, `?sha256=${right}`)).status).toBe(201);
    expect((await sendRaw(project, {}, `?sha256=${right.toUpperCase()}&filename=a`)).status).toBe(201);
  });

  it('that is wrong refuses a raw body, also beside a Content-Digest that is right', async () => {
    const project = await kit.project();
    const answer = await sendRaw(project, { 'content-digest': member('sha-256') }, `?sha256=${wrong}`);
    expect(await refused(project, answer, 422, 'digest-mismatch')).toMatchObject([
      { pointer: '#/query/sha256' },
    ]);
  });

  it.each([['abc'], ['g'.repeat(64)], [`${'a'.repeat(64)}&sha256=${'a'.repeat(64)}`]])(
    'cannot be %s',
    async (value) => {
      const project = await kit.project();
      const answer = await sendRaw(project, {}, `?sha256=${value}`);
      const errors = await refused(project, answer, 400, 'invalid-request');
      expect(errors).toMatchObject([{ pointer: '#/query/sha256' }]);
    },
  );

  it('is verified for the only file of a form, whose Content-Digest speaks of the form', async () => {
    const project = await kit.project();
    const parts = [{ name: 'note', content: 'x' }, file];
    expect((await sendForm(project, parts, `?sha256=${right}`)).status).toBe(201);
    const second = await kit.project();
    const answer = await sendForm(second, parts, `?sha256=${wrong}`);
    expect(await refused(second, answer, 422, 'digest-mismatch')).toMatchObject([
      { pointer: '#/query/sha256' },
    ]);
  });

  it('does not speak of several files', async () => {
    const project = await kit.project();
    const answer = await sendForm(project, [file, file], `?sha256=${right}`);
    expect(await refused(project, answer, 400, 'invalid-request')).toMatchObject([
      { pointer: '#/query/sha256' },
    ]);
  });
});
