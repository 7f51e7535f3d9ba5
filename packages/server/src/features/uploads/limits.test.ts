import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { noise } from '../../../test/fixtures/noise.js';
import {
  createUploadKit,
  multipartBody,
  nothing,
  type TestPart,
  type UploadKit,
} from '../../../test/upload-kit.js';

const serverMax = 1_000_000;
let kit: UploadKit;
beforeAll(async () => {
  kit = await createUploadKit({
    poolSize: 20,
    limits: { maxBytes: serverMax, maxFiles: 5, reserveStepBytes: 100_000 },
  });
});
afterAll(() => kit.close());

async function upload(projectId: string, parts: readonly TestPart[]): Promise<Response> {
  return kit.send(projectId, multipartBody(parts));
}

/** Sends without a Content-Length. */
async function stream(projectId: string, parts: readonly TestPart[]): Promise<Response> {
  return kit.send(projectId, multipartBody(parts), {}, 'chunked');
}

function bytes(size: number): TestPart {
  return { filename: 'a.bin', content: Buffer.alloc(size, 7) };
}

describe.each([
  ['of known length', upload],
  ['of unknown length', stream],
])('an upload %s', (_name, send) => {
  it('may have exactly as many bytes as the server allows, and not one more', async () => {
    const project = await kit.project();
    expect((await send(project, [bytes(serverMax)])).status).toBe(201);
    const answer = await send(project, [bytes(serverMax + 1)]);
    expect(answer.status).toBe(413);
    expect(await answer.json()).toMatchObject({ code: 'file-too-large', limit: serverMax });
    expect(await kit.usage(project)).toEqual({ bytes: serverMax, files: 1, reserved: 0, reservedFiles: 0 });
  });

  it('may have exactly as many bytes as the project allows, which cannot allow more than the server', async () => {
    const small = await kit.project({ quota: { bytesPerUpload: 10 } });
    expect((await send(small, [bytes(10)])).status).toBe(201);
    expect((await send(small, [bytes(11)])).status).toBe(413);
    const large = await kit.project({ quota: { bytesPerUpload: serverMax * 2 } });
    expect((await send(large, [bytes(serverMax + 1)])).status).toBe(413);
    expect(await kit.leftovers(large)).toEqual(nothing);
  });

  it('fills the quota to the last byte, and not over it', async () => {
    const project = await kit.project({ quota: { bytes: 500_000 } });
    expect((await send(project, [bytes(300_000)])).status).toBe(201);
    const over = await send(project, [bytes(200_001)]);
    expect(over.status).toBe(413);
    expect(await over.json()).toMatchObject({ code: 'quota-exceeded', limit: 500_000 });
    expect((await send(project, [bytes(200_000)])).status).toBe(201);
    expect((await send(project, [bytes(1)])).status).toBe(413);
    expect(await kit.usage(project)).toEqual({ bytes: 500_000, files: 2, reserved: 0, reservedFiles: 0 });
  });

  it('fills the number of files, and not over it', async () => {
    const project = await kit.project({ quota: { files: 2 } });
    expect((await send(project, [bytes(1), bytes(1)])).status).toBe(201);
    const answer = await send(project, [bytes(1)]);
    expect(await answer.json()).toMatchObject({ code: 'quota-exceeded', limit: 2, actual: 3 });
    expect(await kit.usage(project)).toMatchObject({ files: 2, reservedFiles: 0 });
  });

  it('may carry as many files as allowed, and not one more', async () => {
    const project = await kit.project();
    expect(
      (
        await send(
          project,
          Array.from({ length: 5 }, () => bytes(10)),
        )
      ).status,
    ).toBe(201);
    const answer = await send(
      project,
      Array.from({ length: 6 }, () => bytes(10)),
    );
    expect(answer.status).toBe(413);
    expect(await answer.json()).toMatchObject({
      code: 'too-many-files',
      limit: 5,
      errors: [{ pointer: '#/parts/5' }],
    });
    expect(await kit.usage(project)).toEqual({ bytes: 50, files: 5, reserved: 0, reservedFiles: 0 });
  });
});

describe('several files in one request', () => {
  it('are stored all or not at all, and the problem names the part', async () => {
    const project = await kit.project({ allowedTypes: ['text/plain'] });
    const text = { filename: 'a.txt', content: 'hello' };
    const answer = await upload(project, [text, { name: 'field', content: 'x' }, text, bytes(10), text]);
    expect(answer.status).toBe(415);
    expect(await answer.json()).toMatchObject({
      code: 'type-not-allowed',
      errors: [{ pointer: '#/parts/3' }],
    });
    expect(await kit.leftovers(project)).toEqual(nothing);
  });

  it('give back what the first reserved for all before the next asks', async () => {
    const project = await kit.project({ quota: { bytes: 900_500 } });
    expect((await upload(project, [bytes(300_000), bytes(300_000), bytes(300_000)])).status).toBe(201);
    expect(await kit.usage(project)).toEqual({ bytes: 900_000, files: 3, reserved: 0, reservedFiles: 0 });
  });

  it('leave nothing when the last does not fit the quota', async () => {
    const project = await kit.project({ quota: { bytes: 800_000 } });
    const answer = await stream(project, [bytes(300_000), bytes(300_000), bytes(300_000)]);
    expect(await answer.json()).toMatchObject({ code: 'quota-exceeded', errors: [{ pointer: '#/parts/2' }] });
    expect(await kit.leftovers(project)).toEqual(nothing);
  });
});

describe('the type', () => {
  it('is what the bytes say, whatever the name and the client say', async () => {
    const project = await kit.project({ allowedTypes: ['image/*'] });
    const page = {
      filename: 'cat.jpg',
      type: 'image/jpeg',
      content: '<!DOCTYPE html><script>alert(1)</script>',
    };
    const answer = await upload(project, [page]);
    expect(answer.status).toBe(415);
    const problem = (await answer.json()) as { detail: string };
    expect(problem).toMatchObject({ code: 'type-not-allowed', errors: [{ pointer: '#/parts/0' }] });
    expect(problem.detail).toContain('text/html');
    expect(await kit.leftovers(project)).toEqual(nothing);
  });

  it('may be allowed by name or by kind', async () => {
    const pdf = { filename: 'a.pdf', content: '%PDF-1.7\n%\u00e2\u00e3\n' };
    expect((await upload(await kit.project({ allowedTypes: ['application/pdf'] }), [pdf])).status).toBe(201);
    expect((await upload(await kit.project({ allowedTypes: ['application/*'] }), [pdf])).status).toBe(201);
    expect(
      (await upload(await kit.project({ allowedTypes: ['app/*', 'application/pd'] }), [pdf])).status,
    ).toBe(415);
  });
});

describe('the quota of the server', () => {
  it('holds for projects that set none', async () => {
    const other = await createUploadKit({ defaultQuotaBytes: 1000 });
    try {
      const project = await other.project();
      const answer = await other.send(project, multipartBody([bytes(1001)]));
      expect(await answer.json()).toMatchObject({ code: 'quota-exceeded', limit: 1000, actual: 1001 });
      const own = await other.project({ quota: { bytes: 5000 } });
      expect((await other.send(own, multipartBody([bytes(1001)]))).status).toBe(201);
    } finally {
      await other.close();
    }
  });
});

describe('fifty uploads at once', () => {
  it('of known size: exactly as many succeed as fit', async () => {
    const project = await kit.project({ quota: { bytes: 17 * 20_000 } });
    const body = multipartBody([{ filename: 'a.bin', content: noise(20_000) }]);
    const answers = await Promise.all(Array.from({ length: 50 }, () => kit.send(project, body)));
    const statuses = answers.map(({ status }) => status);
    expect(statuses.filter((status) => status === 201)).toHaveLength(17);
    expect(statuses.filter((status) => status === 413)).toHaveLength(33);
    expect(await kit.usage(project)).toEqual({ bytes: 340_000, files: 17, reserved: 0, reservedFiles: 0 });
  });

  it('of a limited number: exactly as many succeed as fit', async () => {
    const project = await kit.project({ quota: { files: 9 } });
    const body = multipartBody([{ filename: 'a.bin', content: 'x' }]);
    const answers = await Promise.all(Array.from({ length: 50 }, () => kit.send(project, body)));
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(9);
    expect(await kit.usage(project)).toEqual({ bytes: 9, files: 9, reserved: 0, reservedFiles: 0 });
  });

  it('of unknown size: never more than fit, and every reservation comes back', async () => {
    const project = await kit.project({ quota: { bytes: 300_000 } });
    const answers = await Promise.all(Array.from({ length: 20 }, () => stream(project, [bytes(100_000)])));
    const stored = answers.filter(({ status }) => status === 201).length;
    expect(stored).toBeLessThanOrEqual(3);
    expect(answers.every(({ status }) => status === 201 || status === 413)).toBe(true);
    expect(await kit.usage(project)).toEqual({
      bytes: stored * 100_000,
      files: stored,
      reserved: 0,
      reservedFiles: 0,
    });
  });
});
