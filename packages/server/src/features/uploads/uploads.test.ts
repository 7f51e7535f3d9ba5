import { createHash, randomBytes } from 'node:crypto';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import {
  createUploadKit,
  multipartBody,
  multipartType,
  nothing,
  type UploadKit,
} from '../../../test/upload-kit.js';

let kit: UploadKit;
beforeAll(async () => {
  kit = await createUploadKit();
});
afterAll(() => kit.close());

async function send(
  projectId: string,
  body: Buffer,
  headers: Record<string, string> = {},
): Promise<Response> {
  return fetch(`${kit.url}/projects/${projectId}/upload`, {
    method: 'POST',
    headers: { 'content-type': multipartType, ...headers },
    body: new Uint8Array(body),
  });
}

describe('a multipart upload', () => {
  it('stores one file and answers with it and its address', async () => {
    const project = await kit.project();
    const content = randomBytes(300_000);
    const answer = await send(project, multipartBody([{ filename: 'a.bin', content }]));
    expect(answer.status).toBe(201);
    const file = (await answer.json()) as Record<string, unknown>;
    expect(answer.headers.get('location')).toBe(`http://media.test/files/${String(file['id'])}`);
    expect(file).toMatchObject({
      filename: 'a.bin',
      mimeType: 'application/octet-stream',
      size: 300_000,
      sha256: createHash('sha256').update(content).digest('hex'),
      status: 'ready',
    });
    const blob = await kit.blobs.get(`${project}/files/${String(file['id'])}.bin`);
    expect(Buffer.concat(await blob.body.toArray()).equals(content)).toBe(true);
    expect(await kit.usage(project)).toEqual({ bytes: 300_000, files: 1, reserved: 0, reservedFiles: 0 });
  });

  it('stores nothing of a cut body', async () => {
    const project = await kit.project();
    const body = multipartBody([{ filename: 'a.bin', content: randomBytes(300_000) }]);
    const answer = await send(project, body.subarray(0, -10));
    expect(answer.status).toBe(400);
    expect(await answer.json()).toMatchObject({ code: 'malformed-body', errors: [{ pointer: '#/parts/0' }] });
    expect(await kit.leftovers(project)).toEqual(nothing);
  });
});
