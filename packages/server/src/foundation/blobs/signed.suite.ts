import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { Trial } from './abilities.suite.js';
import { InvalidKey, Unsupported, type DirectOperation, type SignedRequest } from './blob-store.js';
import { expectSame, pattern } from './contract.suite.js';

const minute = (): { expiresIn: number; signedAt: Date } => ({ expiresIn: 60, signedAt: new Date() });

/** What a store's signed requests must allow, and refuse, to an HTTP client that knows nothing of S3. */
export function signedContract(trial: Trial): void {
  const { store, place, read, keys, unfinished, lacks } = trial;

  const sign = async (operation: DirectOperation, options = minute()): Promise<SignedRequest> => {
    const signed = await store().signDirect(operation, options);
    if (!signed) throw new TypeError('the store signed nothing');
    return signed;
  };

  if (lacks('signedUrls')) {
    it('are none', async () => {
      const key = `${place()}any`;
      const at = { key, uploadId: 'x' };
      for (const operation of [
        { kind: 'put', key },
        { kind: 'post', key, minBytes: 1, maxBytes: 2 },
        { kind: 'begin-multipart', key },
        { kind: 'put-part', ...at, number: 1 },
        { kind: 'complete-multipart', ...at },
      ] as const) {
        expect(await store().signDirect(operation, minute())).toBeUndefined();
      }
    });
    return;
  }

  describe('for a put', () => {
    it('store exactly what was signed for', async () => {
      const key = `${place()}put ü+%.bin`;
      const bytes = pattern(3_000);
      const contentMd5 = createHash('md5').update(bytes).digest('base64');
      const signed = await sign({ kind: 'put', key, size: 3_000, contentType: 'image/png', contentMd5 });
      expect(signed.headers).toEqual({
        'content-length': '3000',
        'content-type': 'image/png',
        'content-md5': contentMd5,
      });
      expect(signed.url).not.toMatch(/checksum/i);
      expect((await send(signed, bytes)).status).toBe(200);
      expectSame(await read(key), bytes);
      // The same request again is the same blob again; what must not change is copied first.
      expect((await send(signed, bytes)).status).toBe(200);
    });

    it('work without a size and a type too', async () => {
      const key = `${place()}free`;
      const signed = await sign({ kind: 'put', key });
      expect(signed).toMatchObject({ method: 'PUT', headers: {} });
      expect((await send(signed, Buffer.from('anything'))).status).toBe(200);
      expect((await read(key)).toString()).toBe('anything');
    });

    it('refuse another length, type or content', async () => {
      const at = place();
      const key = `${at}strict`;
      const bytes = pattern(3_000);
      const contentMd5 = createHash('md5').update(bytes).digest('base64');
      const signed = await sign({ kind: 'put', key, size: 3_000, contentType: 'image/png', contentMd5 });
      const without = (name: string): Record<string, string> =>
        Object.fromEntries(Object.entries(signed.headers).filter(([other]) => other !== name));
      const refused = [
        await send(signed, pattern(2_999)),
        await send(signed, pattern(3_001)),
        await send(signed, Buffer.alloc(0)),
        await send(signed, Buffer.alloc(3_000)),
        await send({ ...signed, headers: { ...signed.headers, 'content-type': 'text/html' } }, bytes),
        await send({ ...signed, headers: without('content-type') }, bytes),
        await send({ ...signed, headers: without('content-md5') }, bytes),
      ];
      for (const [index, { status }] of refused.entries()) expectRefused(status, String(index));
      expect(await keys(at)).toEqual([]);
    });

    it('refuse what was tampered with, or is too late', async () => {
      const at = place();
      const bytes = pattern(10);
      const signed = await sign({ kind: 'put', key: `${at}mine`, size: 10 });
      const late = await sign(
        { kind: 'put', key: `${at}mine`, size: 10 },
        { expiresIn: 60, signedAt: new Date(Date.now() - 90_000) },
      );
      const changed = [
        signed.url.replace('/mine?', '/other?'),
        signed.url.replace(/(X-Amz-Signature=)(.)/, (_all, name: string, digit: string) =>
          digit === '0' ? `${name}1` : `${name}0`,
        ),
        signed.url.replace('X-Amz-Expires=60', 'X-Amz-Expires=6000'),
        signed.url.replace(/X-Amz-SignedHeaders=[^&]*/, 'X-Amz-SignedHeaders=host'),
        signed.url.replace(/&X-Amz-Signature=[^&]*/, ''),
        late.url,
      ];
      for (const url of changed) {
        expect(url).not.toBe(signed.url);
        expectRefused((await send({ ...signed, url }, bytes)).status, url);
      }
      expectRefused((await send({ ...signed, method: 'DELETE' }, undefined)).status, 'DELETE');
      expectRefused((await send({ ...signed, method: 'GET' }, undefined)).status, 'GET');
      expect(await keys(at)).toEqual([]);
    });

    it('are equal for the same moment, and refuse keys that are none', async () => {
      const key = `${place()}same`;
      const options = minute();
      const operation = { kind: 'put', key, size: 1 } as const;
      expect(await sign(operation, options)).toEqual(await sign(operation, options));
      await expect(sign({ kind: 'put', key: '../x' })).rejects.toBeInstanceOf(InvalidKey);
    });
  });

  describe('for parts', () => {
    it('carry a whole put in parts, by a client without credentials', async () => {
      const key = `${place()}parts ü+.bin`;
      const begin = await sign({ kind: 'begin-multipart', key, contentType: 'image/png' });
      const answer = await send(begin, undefined);
      expect(answer.status).toBe(200);
      const uploadId = textIn(answer.text, 'UploadId');
      expect((await unfinished(key)).map((one) => one.uploadId)).toEqual([uploadId]);

      const bodies = [pattern(5 * 2 ** 20), pattern(1_000)];
      const etags: string[] = [];
      for (const [index, bytes] of bodies.entries()) {
        const at = { key, uploadId, number: index + 1, size: bytes.length };
        const signed = await sign({ kind: 'put-part', ...at });
        expect(signed.url).not.toMatch(/checksum/i);
        const { status, headers } = await send(signed, bytes);
        expect(status).toBe(200);
        etags.push(headers.get('etag') ?? '');
      }
      const other = await sign({ kind: 'put-part', key, uploadId, number: 2, size: 1_000 });
      expectRefused((await send(other, pattern(1_001))).status, 'another length');
      expectRefused(
        (await send({ ...other, url: other.url.replace('partNumber=2', 'partNumber=3') }, pattern(1_000)))
          .status,
        'another number',
      );

      const list = await send(await sign({ kind: 'list-parts', key, uploadId }), undefined);
      expect([...list.text.matchAll(/<PartNumber>(\d+)</g)].map(([, number]) => number)).toEqual(['1', '2']);
      expect((await store().multipart.parts(key, uploadId)).map(({ etag }) => etag)).toEqual(etags);

      const named = etags.map(
        (etag, index) => `<Part><PartNumber>${index + 1}</PartNumber><ETag>${etag}</ETag></Part>`,
      );
      const complete = await sign({ kind: 'complete-multipart', key, uploadId });
      const xml = `<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${named.join('')}</CompleteMultipartUpload>`;
      const done = await send(complete, Buffer.from(xml));
      expect(done.text).toContain('CompleteMultipartUploadResult');
      expectSame(await read(key), Buffer.concat(bodies));
    });

    it('abort an upload, and no other', async () => {
      const at = place();
      const [mine, other] = [
        await store().multipart.begin(`${at}a`),
        await store().multipart.begin(`${at}b`),
      ];
      const signed = await sign({ kind: 'abort-multipart', key: `${at}a`, uploadId: mine });
      expectRefused(
        (await send({ ...signed, url: signed.url.replace('/a?', '/b?') }, undefined)).status,
        'b',
      );
      expect((await send(signed, undefined)).status).toBe(204);
      expect((await unfinished(at)).map(({ uploadId }) => uploadId)).toEqual([other]);
      await store().multipart.abort(`${at}b`, other);
    });
  });

  describe('for a form', () => {
    const form = (key: string): DirectOperation => ({
      kind: 'post',
      key,
      minBytes: 10,
      maxBytes: 1_000,
      contentType: 'image/png',
    });

    if (lacks('signedForms')) {
      it('are refused', async () => {
        await expect(sign(form(`${place()}form`))).rejects.toBeInstanceOf(Unsupported);
      });
      return;
    }

    it('store a file of a size within the limits', async () => {
      const at = place();
      for (const size of [10, 1_000]) {
        const signed = await sign(form(`${at}${size}`));
        expectTaken((await submit(signed, pattern(size))).status);
        expectSame(await read(`${at}${size}`), pattern(size));
      }
    });

    it('refuse a file that is too small or too large, another key, another type, a changed policy, a late one', async () => {
      const at = place();
      const signed = await sign(form(`${at}form`));
      const { fields = {} } = signed;
      const late = await sign(form(`${at}form`), { expiresIn: 1, signedAt: new Date(Date.now() - 60_000) });
      const signature = fields['X-Amz-Signature'] ?? '';
      const wrong = signature.replace(/^./, (digit) => (digit === '0' ? '1' : '0'));
      const refused = [
        await submit(signed, pattern(9)),
        await submit(signed, pattern(1_001)),
        await submit({ ...signed, fields: { ...fields, key: `${at}other` } }, pattern(100)),
        await submit({ ...signed, fields: { ...fields, 'Content-Type': 'text/html' } }, pattern(100)),
        await submit({ ...signed, fields: { ...fields, 'X-Amz-Signature': wrong } }, pattern(100)),
      ];
      for (const [index, { status }] of refused.entries()) expectRefused(status, String(index));
      // The shortest life of a form is a second from now.
      await expect.poll(async () => (await submit(late, pattern(100))).status, { timeout: 5_000 }).toBe(403);
      await store().delete(`${at}form`);
      expect(await keys(at)).toEqual([]);
    });
  });
}

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

async function send(signed: SignedRequest, body: Buffer | undefined): Promise<Answer> {
  // As in a browser, the length is the client's to say.
  const headers = Object.entries(signed.headers).filter(([name]) => name !== 'content-length');
  const response = await fetch(signed.url, {
    method: signed.method,
    headers: Object.fromEntries(headers),
    ...(body && { body }),
  });
  return { status: response.status, headers: response.headers, text: await response.text() };
}

async function submit(signed: SignedRequest, bytes: Buffer): Promise<Answer> {
  const form = new FormData();
  for (const [name, value] of Object.entries(signed.fields ?? {})) form.append(name, value);
  form.append('file', new Blob([bytes]), 'a.png');
  const response = await fetch(signed.url, { method: 'POST', body: form });
  return { status: response.status, headers: response.headers, text: await response.text() };
}

function expectRefused(status: number, what: string): void {
  expect(status, what).toBeGreaterThanOrEqual(400);
  expect(status, what).toBeLessThan(500);
}

function expectTaken(status: number): void {
  expect([200, 201, 204]).toContain(status);
}

function textIn(xml: string, element: string): string {
  return new RegExp(`<${element}>([^<]+)</${element}>`).exec(xml)?.[1] ?? '';
}
