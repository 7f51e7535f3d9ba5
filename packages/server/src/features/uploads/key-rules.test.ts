import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { multipartBody, multipartType } from '../../../test/upload-kit.js';
import { startOddSource, wholeAnswer, type OddSource } from '../../../test/odd-source.js';
import { createImportScene, type ImportScene } from './import/import.suite.js';

let scene: ImportScene;
let source: OddSource;
let project: string;

const text = Buffer.from('plain words, nothing else');
const gif = Buffer.from('R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7', 'base64');

beforeAll(async () => {
  scene = await createImportScene();
  project = scene.projectId;
  source = await startOddSource((socket, head) => {
    const content = head.startsWith('GET /picture') ? gif : text;
    socket.write(wholeAnswer('', []).replace('Content-Length: 0', `Content-Length: ${content.length}`));
    socket.write(content);
  });
  scene.run();
});
afterAll(async () => {
  await source.close();
  await scene.close();
});

const call = (
  method: string,
  path: string,
  key: string,
  headers: Record<string, string>,
  body?: Buffer | string,
) =>
  fetch(new URL(path.replace('http://media.test', scene.url), scene.url), {
    method,
    headers: { authorization: `Bearer ${key}`, ...headers },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : new Uint8Array(body) }),
  });
const codeOf = async (answer: Response): Promise<string> => {
  if (answer.ok) return 'taken';
  return ((await answer.json()) as { code: string }).code;
};
const json = { 'content-type': 'application/json' };
const tus = { 'tus-resumable': '1.0.0' };

/** Every way in; each resolves with `taken`, or the code of its refusal. */
const ways: Record<string, (key: string, bytes: Buffer) => Promise<string>> = {
  form: async (key, content) =>
    codeOf(
      await call(
        'POST',
        `/projects/${project}/upload`,
        key,
        { 'content-type': multipartType },
        multipartBody([{ filename: 'a', content }]),
      ),
    ),
  raw: async (key, content) =>
    codeOf(
      await call('POST', `/projects/${project}/upload?filename=a`, key, { 'content-type': 'a/b' }, content),
    ),
  async tus(key, content) {
    const made = await call('POST', `/projects/${project}/tus`, key, {
      ...tus,
      'upload-length': String(content.length),
    });
    if (!made.ok) return codeOf(made);
    const headers = { ...tus, 'content-type': 'application/offset+octet-stream', 'upload-offset': '0' };
    return codeOf(await call('PATCH', made.headers.get('location') ?? '', key, headers, content));
  },
  async direct(key, content) {
    const begun = await call(
      'POST',
      `/projects/${project}/uploads`,
      key,
      json,
      JSON.stringify({ filename: 'a', size: content.length }),
    );
    if (!begun.ok) return codeOf(begun);
    const { id, put } = (await begun.json()) as {
      id: string;
      put: { url: string; headers: Record<string, string> };
    };
    const sent = await fetch(put.url.replace('http://media.test', scene.url), {
      method: 'PUT',
      headers: Object.fromEntries(
        Object.entries(put.headers).filter(([name]) => name.toLowerCase() !== 'content-length'),
      ),
      body: new Uint8Array(content),
    });
    expect(sent.status).toBe(200);
    return codeOf(await call('POST', `/projects/${project}/uploads/${id}/complete`, key, json, '{}'));
  },
  async import(key, content) {
    const ordered = await scene.order(
      { url: `http://127.0.0.1:${source.port}/${content === gif ? 'picture' : 'words'}` },
      { authorization: `Bearer ${key}` },
    );
    if (!ordered.ok) return codeOf(ordered);
    const { id } = (await ordered.json()) as { id: string };
    return (await scene.ended(id)).failure?.code ?? 'taken';
  },
};

describe.each(Object.keys(ways))('by %s', (name) => {
  const way = (key: string, bytes: Buffer) => ways[name]!(key, bytes);

  it('a key brings files up to its size, and none a byte larger', async () => {
    const exact = await scene.key(project, { maxFileBytes: text.length });
    expect(await way(exact, text)).toBe('taken');
    const short = await scene.key(project, { maxFileBytes: text.length - 1 });
    expect(await way(short, text)).toBe('file-too-large');
  });

  it('a key brings files of its types only, as their bytes tell', async () => {
    const pictures = await scene.key(project, { allowedTypes: ['image/*'] });
    expect(await way(pictures, text)).toBe('type-not-allowed');
    expect(await way(pictures, gif)).toBe('taken');
  });

  it('a key brings so many files and no more', async () => {
    const two = await scene.key(project, { maxFiles: 2 });
    expect([await way(two, text), await way(two, text), await way(two, text)]).toEqual([
      'taken',
      'taken',
      'quota-exceeded',
    ]);
  });
});

it('of ten at once exactly as many fit as the key may bring', async () => {
  const three = await scene.key(project, { maxFiles: 3 });
  const answers = await Promise.all(
    Array.from({ length: 10 }, (_, n) => ways[['raw', 'form', 'tus'][n % 3] ?? 'raw']!(three, text)),
  );
  expect(answers.filter((code) => code === 'taken')).toHaveLength(3);
  expect(answers.filter((code) => code === 'quota-exceeded')).toHaveLength(7);
});

it('a file that is refused takes no place', async () => {
  const one = await scene.key(project, { maxFiles: 1, maxFileBytes: 30 });
  expect(await ways['raw']!(one, Buffer.alloc(31))).toBe('file-too-large');
  expect(await ways['raw']!(one, text)).toBe('taken');
});
