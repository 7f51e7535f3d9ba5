import { createHash } from 'node:crypto';
import { connect } from 'node:net';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import type { BlobStore } from '../../src/foundation/blobs/blob-store.js';
import { pattern } from '../../src/foundation/blobs/contract.suite.js';
import { digestBlob } from '../../src/foundation/blobs/copy-blob.js';
import { openBlobStore } from '../../src/foundation/blobs/open.js';
import { s3Access, s3Url } from '../s3-access.js';
import { createUploadKit, nothing, type UploadKit } from '../upload-kit.js';

/**
 * Uploads of several requests into S3 servers that nobody here wrote: resumable ones, whose parts go straight to the
 * bucket, and direct ones, by a plain HTTP client. `npm run test:s3` starts the servers.
 */
const mebibyte = 1024 * 1024;
const slow = 240_000;
const offsetType = 'application/offset+octet-stream';
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

interface Signed {
  readonly method: string;
  readonly url: string;
  readonly headers: Record<string, string>;
  readonly fields?: Record<string, string>;
}
interface View {
  readonly id: string;
  readonly status: string;
  readonly code?: string;
  readonly put?: Signed;
  readonly post?: Signed;
  readonly multipart?: { partBytes: number; partCount: number };
  readonly file: { id: string; sha256: string } | null;
}

for (const name of ['rgw', 'swift'] as const) {
  const url = s3Url(name);
  if (url === undefined) {
    describe(`uploads of several requests into ${name}`, () => {
      it.skip(`needs TEST_S3_${name.toUpperCase()}`, () => undefined);
    });
    continue;
  }

  describe(`uploads of several requests into ${name}`, { timeout: slow }, () => {
    let store: BlobStore;
    let kit: UploadKit;
    let other: UploadKit;
    beforeAll(async () => {
      store = await openBlobStore(s3Access(url, 'mediablobkit-uploads'));
      await empty(store);
      const options = { backing: store, limits: { maxBytes: 1024 * mebibyte } };
      kit = await createUploadKit(options);
      other = await createUploadKit({ ...options, beside: kit });
    }, slow);
    afterAll(async () => {
      await other.close();
      await kit.close();
      await empty(store);
      await store.close();
    }, slow);

    const stored = async (fileId: string | null | undefined) => {
      const row = await kit.db
        .selectFrom('files')
        .selectAll()
        .where('id', '=', fileId ?? '')
        .executeTakeFirstOrThrow();
      const found = await digestBlob(store, row.s3_key, new AbortController().signal);
      expect([found?.size, found?.sha256.toString('hex')]).toEqual([row.size, row.sha256?.toString('hex')]);
      return found?.sha256.toString('hex');
    };
    const tus = (
      which: UploadKit,
      method: string,
      path: string,
      fields: Record<string, string>,
      body?: Buffer,
    ) =>
      fetch(new URL(path.replace('http://media.test', which.url), which.url), {
        method,
        headers: { 'tus-resumable': '1.0.0', ...fields },
        ...(body ? { body: new Uint8Array(body) } : {}),
      });
    const begin = async (project: string, size: number) =>
      (await tus(kit, 'POST', `/projects/${project}/tus`, { 'upload-length': String(size) })).headers.get(
        'location',
      ) ?? '';
    const append = (which: UploadKit, location: string, offset: number, body: Buffer) =>
      tus(which, 'PATCH', location, { 'content-type': offsetType, 'upload-offset': String(offset) }, body);
    async function api<T = View>(method: string, path: string, body?: unknown) {
      const answer = await fetch(`${kit.url}${path}`, {
        method,
        ...(body === undefined
          ? {}
          : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
      });
      const text = await answer.text();
      return { status: answer.status, body: (text === '' ? undefined : JSON.parse(text)) as T };
    }
    /** Sends bytes as a plain client would; the length goes by itself. */
    const send = async (signed: Signed | undefined, bytes: Buffer, headers: Record<string, string> = {}) => {
      const answer = await fetch(signed?.url ?? '', {
        method: signed?.method ?? 'PUT',
        headers: { ...signed?.headers, ...headers },
        body: new Uint8Array(bytes),
      });
      await answer.arrayBuffer();
      return answer;
    };
    const beginDirect = async (project: string, body: Record<string, unknown>) => {
      const answer = await api('POST', `/projects/${project}/uploads`, body);
      expect([answer.status, answer.body.code]).toEqual([201, undefined]);
      return answer.body;
    };
    const complete = (project: string, { id }: Pick<View, 'id'>) =>
      api('POST', `/projects/${project}/uploads/${id}/complete`, {});

    it('resumed by turns in two processes, it is the same file', async () => {
      const project = await kit.project();
      const bytes = pattern(27 * mebibyte + 11);
      const location = await begin(project, bytes.length);
      let answer = new Response();
      for (let offset = 0, turn = 0; offset < bytes.length; turn++) {
        const piece = bytes.subarray(offset, offset + [3, 9 * mebibyte, 5 * mebibyte][turn % 3]!);
        answer = await append(turn % 2 === 0 ? kit : other, location, offset, piece);
        expect(answer.status).toBe(204);
        offset += piece.length;
      }
      expect(await stored(answer.headers.get('x-file-id'))).toBe(sha256(bytes));
      expect((await kit.leftovers(project)).blobs).toHaveLength(1);
    });

    it('broken off, it keeps what arrived; given up, it leaves nothing', async () => {
      const project = await kit.project();
      const size = 30 * mebibyte;
      const location = await begin(project, size);
      const socket = connect(kit.port, '127.0.0.1');
      socket.on('error', () => undefined);
      socket.write(
        `PATCH ${location.replace('http://media.test', '')} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\n` +
          `Content-Type: ${offsetType}\r\nUpload-Offset: 0\r\nContent-Length: ${size}\r\n\r\n`,
      );
      await new Promise<void>((resolve) => socket.write(pattern(20 * mebibyte), () => resolve()));
      socket.end();
      const held = async () =>
        (await kit.db.selectFrom('uploads').select('id').where('lock_holder', 'is not', null).execute())
          .length;
      await expect.poll(held, { timeout: 60_000 }).toBe(0);
      const offset = Number((await tus(kit, 'HEAD', location, {})).headers.get('upload-offset'));
      expect(offset).toBe(20 * mebibyte);
      expect((await tus(kit, 'DELETE', location, {})).status).toBe(204);
      expect(await kit.leftovers(project)).toEqual(nothing);
    });

    it('by one signed PUT; other bytes than were signed for are refused by the store', async () => {
      const project = await kit.project();
      const bytes = Buffer.from('hello, bucket');
      const view = await beginDirect(project, { filename: 'a.txt', size: bytes.length, type: 'text/plain' });
      expect(view.put?.url).not.toContain('media.test');
      expect((await send(view.put, Buffer.from('longer than it should be'))).status).toBe(403);
      expect((await send(view.put, bytes, { 'content-type': 'text/html' })).status).toBe(403);
      const tampered = view.put!.url.replace(view.id, '0190a5f0-0000-7000-8000-000000000001');
      expect((await send({ ...view.put!, url: tampered }, bytes)).status).toBe(403);
      expect((await complete(project, view)).status).toBe(409);
      expect((await send(view.put, bytes)).status).toBe(200);
      const done = await complete(project, view);
      expect([done.status, done.body.file?.sha256]).toEqual([201, sha256(bytes)]);
      // The address still works, and changes nothing.
      expect((await send(view.put, Buffer.from('HELLO, BUCKET'))).status).toBe(200);
      expect(await stored(done.body.file?.id)).toBe(sha256(bytes));
      expect((await kit.leftovers(project)).blobs).toHaveLength(1);
    });

    it('by a form, where the store has them', async () => {
      const project = await kit.project();
      const { signedForms } = await store.capabilities();
      expect(signedForms).toBe(name === 'rgw');
      const begun = await api('POST', `/projects/${project}/uploads`, {
        filename: 'a',
        size: 5,
        via: 'post',
      });
      if (!signedForms) {
        expect([begun.status, begun.body.code]).toEqual([400, 'invalid-request']);
        return;
      }
      const sendForm = async (content: string) => {
        const form = new FormData();
        for (const [key, value] of Object.entries(begun.body.post?.fields ?? {})) form.set(key, value);
        form.set('file', new Blob([content]));
        return (await fetch(begun.body.post?.url ?? '', { method: 'POST', body: form })).status;
      };
      expect(await sendForm('too long')).toBeGreaterThanOrEqual(400);
      expect(await sendForm('hello')).toBe(204);
      const done = await complete(project, begun.body);
      expect(done.body.file?.sha256).toBe(sha256(Buffer.from('hello')));
    });

    it('in parts, verified by a job, and nothing that is sent later changes it', async () => {
      const project = await kit.project();
      const bytes = pattern(66 * mebibyte);
      const view = await beginDirect(project, { filename: 'a', size: bytes.length, sha256: sha256(bytes) });
      const { partBytes, partCount } = view.multipart!;
      const { body } = await api<{ data: (Signed & { number: number })[] }>(
        'POST',
        `/projects/${project}/uploads/${view.id}/parts`,
        { numbers: Array.from({ length: partCount }, (_, index) => index + 1) },
      );
      for (const signed of body.data) {
        const start = (signed.number - 1) * partBytes;
        expect((await send(signed, bytes.subarray(start, start + partBytes))).status).toBe(200);
        if (signed.number === 1) expect((await complete(project, view)).status).toBe(409);
      }
      const accepted = await complete(project, view);
      expect([accepted.status, accepted.body.status]).toEqual([202, 'verifying']);
      await kit.finishUploads();
      const shown = await api('GET', `/projects/${project}/uploads/${view.id}`);
      expect([shown.body.status, shown.body.file?.sha256]).toEqual(['completed', sha256(bytes)]);
      // Some stores take a part of a finished upload; ours is a copy by then.
      await send(body.data[0], Buffer.alloc(partBytes, 1));
      expect(await stored(shown.body.file?.id)).toBe(sha256(bytes));
      expect((await kit.leftovers(project)).blobs).toHaveLength(1);
    });

    it('with a lying digest, or aborted, it leaves nothing', async () => {
      const project = await kit.project();
      const lie = await beginDirect(project, {
        filename: 'a',
        size: 5,
        sha256: sha256(Buffer.from('other')),
      });
      await send(lie.put, Buffer.from('hello'));
      expect((await complete(project, lie)).status).toBe(422);
      const parts = await beginDirect(project, { filename: 'b', size: 20 * mebibyte, via: 'multipart' });
      const { body } = await api<{ data: Signed[] }>(
        'POST',
        `/projects/${project}/uploads/${parts.id}/parts`,
        {
          numbers: [1],
        },
      );
      await send(body.data[0], pattern(8 * mebibyte));
      expect((await api('DELETE', `/projects/${project}/uploads/${parts.id}`)).status).toBe(204);
      expect(await kit.leftovers(project)).toEqual(nothing);
    });

    it('by a client that speaks S3 by itself, as @uppy/aws-s3 does', async () => {
      const project = await kit.project();
      const bytes = pattern(6 * mebibyte);
      const sign = async (wish: Record<string, unknown>) =>
        (await api<Signed & { id: string; key: string }>('POST', `/projects/${project}/uploads/sign`, wish))
          .body;
      const call = async (method: string, signed: Signed, body?: Buffer | string) => {
        const answer = await fetch(signed.url, {
          method,
          headers: signed.headers,
          ...(body === undefined ? {} : { body: typeof body === 'string' ? body : new Uint8Array(body) }),
        });
        return { tag: answer.headers.get('etag'), text: await answer.text(), status: answer.status };
      };
      const first = await sign({ method: 'POST', key: 'large.bin', contentType: 'application/x-thing' });
      const uploadId = /<UploadId>([^<]+)</.exec((await call('POST', first)).text)?.[1];
      const { key } = first;
      const parts = [];
      for (const [partNumber, piece] of [
        [1, bytes.subarray(0, 5 * mebibyte)],
        [2, bytes.subarray(5 * mebibyte)],
      ] as const) {
        const { tag } = await call('PUT', await sign({ method: 'PUT', key, uploadId, partNumber }), piece);
        parts.push(`<Part><PartNumber>${partNumber}</PartNumber><ETag>${tag ?? ''}</ETag></Part>`);
      }
      const body = `<CompleteMultipartUpload>${parts.join('')}</CompleteMultipartUpload>`;
      expect((await call('POST', await sign({ method: 'POST', key, uploadId }), body)).status).toBe(200);
      const done = await complete(project, first);
      expect([done.status, done.body.file?.sha256]).toEqual([201, sha256(bytes)]);
    });
  });
}

async function empty(store: BlobStore): Promise<void> {
  const keys: string[] = [];
  for await (const { key } of store.list({ prefix: '' })) keys.push(key);
  await store.deleteMany(keys);
  await store.removeStaleTemporaries(-60_000);
}
