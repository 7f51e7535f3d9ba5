import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createLog } from '../log.js';
import { BlobMissing, BlobTruncated, StoreFull, StoreUnavailable, type BlobStore } from './blob-store.js';
import { inChunks, pattern } from './contract.suite.js';
import { openBlobStore } from './open.js';
import { refuse, serveAnswers, type AnsweringServer } from './s3-answers.suite.js';
import { partBytes } from './s3-put.js';

describe('the S3 store', () => {
  let server: AnsweringServer;
  let store: BlobStore;
  beforeEach(async () => {
    server = await serveAnswers();
    store = await openBlobStore({
      backend: 's3',
      bucket: 'bucket',
      endpoint: server.origin,
      region: 'us-east-1',
      forcePathStyle: true,
      credentials: { accessKeyId: 'key', secretAccessKey: 'secret' },
      log: await createLog({ level: 'silent', pretty: false }),
    });
  });
  afterEach(async () => {
    await store.close();
    await server.close();
  });

  const found = { 'last-modified': 'Tue, 24 Nov 2026 12:00:00 GMT', etag: '"x"' };

  it('makes no request by being opened', () => {
    expect(server.requests).toEqual([]);
  });

  it('tells a body that is cut from a whole one', async () => {
    server.answer = (_request, response) => {
      response.writeHead(200, { ...found, 'content-length': '1000' });
      response.write(Buffer.alloc(600), () => response.destroy());
    };
    const { body, size } = await store.get('a');
    expect(size).toBe(1000);
    await expect(buffer(body)).rejects.toBeInstanceOf(BlobTruncated);
  });

  it('refuses a range that comes back shorter or not at all', async () => {
    server.answer = (_request, response) => {
      response.writeHead(206, { ...found, 'content-length': '5', 'content-range': 'bytes 10-14/15' });
      response.end('short');
    };
    await expect(store.get('a', { range: { start: 10, end: 19 } })).rejects.toBeInstanceOf(BlobTruncated);
    server.answer = (_request, response) => {
      response.writeHead(200, { ...found, 'content-length': '100' });
      response.end(Buffer.alloc(100));
    };
    await expect(store.get('a', { range: { start: 10, end: 19 } })).rejects.toThrow('does not answer ranges');
    server.answer = (_request, response) => refuse(response, 416, 'InvalidRange');
    await expect(store.get('a', { range: { start: 10, end: 19 } })).rejects.toBeInstanceOf(BlobTruncated);
  });

  it('tells a missing blob from a missing bucket', async () => {
    server.answer = (request, response) =>
      request.method === 'HEAD' ? response.writeHead(200).end() : refuse(response, 404, 'NoSuchKey');
    await expect(store.get('a')).rejects.toBeInstanceOf(BlobMissing);
    server.answer = (_request, response) => refuse(response, 404, 'NoSuchBucket');
    await expect(store.get('a')).rejects.toThrow('the bucket bucket does not exist');
    await expect(store.stat('a')).rejects.toBeInstanceOf(StoreUnavailable);
  });

  it('tries again after a refusal that passes, with the whole body', async () => {
    const bodies: number[] = [];
    server.answer = (_request, response, body) => {
      bodies.push(body.length);
      if (bodies.length < 2) refuse(response, 503, 'SlowDown');
      else response.writeHead(200, { etag: '"x"' }).end();
    };
    await store.put('a', inChunks(pattern(100_000), 1_000));
    expect(bodies).toEqual([100_000, 100_000]);
  });

  it('sends no checksum trailer that older servers refuse', async () => {
    let headers: IncomingMessage['headers'] = {};
    server.answer = (request, response) => {
      headers = request.headers;
      response.writeHead(200, { etag: '"x"' }).end();
    };
    await store.put('a', inChunks(pattern(10), 3), { contentType: 'image/webp' });
    expect(headers).toMatchObject({ 'content-length': '10', 'content-type': 'image/webp' });
    expect(
      Object.keys(headers).filter((name) => /checksum|trailer|content-encoding|expect/.test(name)),
    ).toEqual([]);
  });

  it('tells a full bucket from a refusing one', async () => {
    server.answer = (_request, response) => refuse(response, 403, 'QuotaExceeded');
    await expect(store.put('a', pattern(10))).rejects.toBeInstanceOf(StoreFull);
    server.answer = (_request, response) => refuse(response, 403, 'SignatureDoesNotMatch');
    await expect(store.put('a', pattern(10))).rejects.toThrow('the secret key is wrong');
  });

  it('aborts a multipart upload of which a part is refused, and reads no further', async () => {
    server.answer = (request, response) => {
      if (request.method === 'POST') {
        response.end(
          '<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>',
        );
      } else if (request.method === 'DELETE') response.writeHead(204).end();
      else if (request.url?.includes('partNumber=2')) refuse(response, 403, 'AccessDenied');
      else response.writeHead(200, { etag: '"x"' }).end();
    };
    const chunk = pattern(65_536);
    const endless = new Readable({
      read() {
        this.push(chunk);
      },
    });
    await expect(store.put('a', endless)).rejects.toThrow('may not do this');
    expect(endless.destroyed).toBe(true);
    expect(server.requests.at(-1)).toBe('DELETE /bucket/a?uploadId=u1&x-id=AbortMultipartUpload');
  });

  it('aborts a multipart upload that was given up while it began', async () => {
    const abort = new AbortController();
    server.answer = (request, response) => {
      abort.abort(new Error('enough'));
      if (request.method === 'DELETE') response.writeHead(204).end();
      else
        response.end(
          '<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>',
        );
    };
    const body = inChunks(pattern(9 * 2 ** 20), 65_536);
    await expect(store.put('a', body, { signal: abort.signal })).rejects.toThrow('enough');
    expect(server.requests).toEqual([
      'POST /bucket/a?uploads=',
      'DELETE /bucket/a?uploadId=u1&x-id=AbortMultipartUpload',
    ]);
  });

  it('believes a lost answer to the completion when the blob is there', async () => {
    const md5 = createHash('md5').update('part').digest();
    const combined = createHash('md5')
      .update(Buffer.concat([md5, md5]))
      .digest('hex');
    server.answer = (request, response) => {
      if (request.url?.includes('uploads')) {
        response.end(
          '<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>',
        );
      } else if (request.method === 'POST') refuse(response, 404, 'NoSuchUpload');
      else if (request.method === 'HEAD') {
        response
          .writeHead(200, { ...found, etag: `"${combined}-2"`, 'content-length': String(9 * 2 ** 20) })
          .end();
      } else if (request.method === 'DELETE') response.writeHead(204).end();
      else response.writeHead(200, { etag: `"${md5.toString('hex')}"` }).end();
    };
    expect(await store.put('a', inChunks(pattern(9 * 2 ** 20), 65_536))).toEqual({ size: 9 * 2 ** 20 });
    // The blob of another length under the key is not the one that was put.
    await expect(store.put('a', inChunks(pattern(10 * 2 ** 20), 65_536))).rejects.toBeInstanceOf(
      StoreUnavailable,
    );
  });

  it('proves a mass deletion by Content-MD5, the one checksum that every server knows', async () => {
    let headers: IncomingMessage['headers'] = {};
    let sent: Buffer = Buffer.alloc(0);
    server.answer = (request, response, body) => {
      headers = request.headers;
      sent = body;
      response.end(
        '<DeleteResult><Error><Key>b</Key><Code>AccessDenied</Code><Message>no</Message></Error></DeleteResult>',
      );
    };
    expect(await store.deleteMany(['a', 'b'])).toEqual([{ key: 'b', reason: 'AccessDenied: no' }]);
    expect(headers['content-md5']).toBe(createHash('md5').update(sent).digest('base64'));
    expect(Object.keys(headers).filter((name) => name.includes('checksum'))).toEqual([]);
  });

  it('refuses a listing that is out of order and leaves out what is no key', async () => {
    const page = (...keys: string[]): string =>
      `<ListBucketResult><IsTruncated>false</IsTruncated><EncodingType>url</EncodingType>${keys
        .map(
          (key) =>
            `<Contents><Key>${key}</Key><Size>1</Size><LastModified>2026-11-24T12:00:00Z</LastModified></Contents>`,
        )
        .join('')}</ListBucketResult>`;
    const keys = async (): Promise<string[]> => {
      const all: string[] = [];
      for await (const { key } of store.list({ prefix: '' })) all.push(key);
      return all;
    };
    server.answer = (_request, response) => response.end(page('a', 'b%01', 'c+d%2Be', 'folder/', 'z%FF'));
    expect(await keys()).toEqual(['a', 'c d+e']);
    server.answer = (_request, response) => response.end(page('b', 'a'));
    await expect(keys()).rejects.toThrow('order');
  });

  it('signs the same URL for the same moment, without a checksum, with everything pinned', async () => {
    const signedAt = new Date('2026-11-24T12:00:00Z');
    const options = { expiresIn: 900, signedAt, contentType: 'image/webp', cacheControl: 'private' };
    const url = new URL((await store.presignGet('p/files/a b.webp', options)) ?? '');
    expect((await store.presignGet('p/files/a b.webp', options)) ?? '').toBe(url.href);
    expect(url.pathname).toBe('/bucket/p/files/a%20b.webp');
    expect(Object.fromEntries(url.searchParams)).toMatchObject({
      'X-Amz-Date': '20261124T120000Z',
      'X-Amz-Expires': '900',
      'response-content-type': 'image/webp',
      'response-cache-control': 'private',
    });
    expect(url.search).not.toMatch(/checksum/i);
    expect(server.requests).toEqual([]);
  });

  it('makes parts of 8 MiB, larger only where 10,000 of them would not suffice', () => {
    const mebibyte = 2 ** 20;
    expect(partBytes(undefined)).toBe(8 * mebibyte);
    expect(partBytes(50 * 2 ** 30)).toBe(8 * mebibyte);
    expect(partBytes(80_000 * mebibyte)).toBe(8 * mebibyte);
    expect(partBytes(80_000 * mebibyte + 1)).toBe(9 * mebibyte);
    const largest = 5 * 2 ** 40;
    expect(partBytes(largest) * 10_000).toBeGreaterThanOrEqual(largest);
    expect(partBytes(largest)).toBeLessThanOrEqual(5 * 2 ** 30);
  });
});
