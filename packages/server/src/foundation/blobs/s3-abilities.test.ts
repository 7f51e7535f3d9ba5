import { S3Client } from '@aws-sdk/client-s3';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createLog } from '../log.js';
import { BlobExists, StoreUnavailable, Unsupported, type BlobStore } from './blob-store.js';
import { openBlobStore } from './open.js';
import { refuse, serveAnswers, type AnsweringServer } from './s3-answers.suite.js';
import { createSigner } from './s3-sign.js';

const found = { 'last-modified': 'Tue, 24 Nov 2026 12:00:00 GMT', etag: '"x"' };

let server: AnsweringServer;
let store: BlobStore;
/** What the server holds, by path. */
let blobs: Map<string, Buffer>;
beforeEach(async () => {
  server = await serveAnswers();
  blobs = new Map();
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

/** Puts, gets and deletes as a store does; `conditions` says whether it knows If-None-Match. */
function plainly(conditions: boolean): AnsweringServer['answer'] {
  return (request, response, body) => {
    const path = (request.url ?? '').replace(/\?.*/, '');
    const bytes = blobs.get(path);
    if (request.method === 'PUT') {
      if (conditions && request.headers['if-none-match'] === '*' && bytes) {
        return refuse(response, 412, 'PreconditionFailed');
      }
      blobs.set(path, body);
      response.writeHead(200, { etag: '"x"' }).end();
    } else if (request.method === 'DELETE') {
      blobs.delete(path);
      response.writeHead(204).end();
    } else if (bytes) {
      response.writeHead(200, { ...found, 'content-length': String(bytes.length) });
      response.end(request.method === 'HEAD' ? undefined : bytes);
    } else if (path === '/bucket' || path === '/bucket/') response.writeHead(200).end();
    else refuse(response, 404, 'NoSuchKey');
  };
}

describe('a put if absent', () => {
  it('is not left to a server that overwrites instead of refusing', async () => {
    server.answer = plainly(false);
    await expect(store.put('a', Buffer.from('x'), { ifAbsent: true })).rejects.toBeInstanceOf(Unsupported);
    expect([...blobs.keys()]).toEqual([]);
    // Found out once.
    const asked = server.requests.length;
    await expect(store.put('b', Buffer.from('x'), { ifAbsent: true })).rejects.toBeInstanceOf(Unsupported);
    expect(server.requests.length).toBe(asked);
  });

  it('is asked for again when the store did not answer', async () => {
    server.answer = (_request, response) => refuse(response, 404, 'NoSuchBucket');
    await expect(store.put('a', Buffer.from('x'), { ifAbsent: true })).rejects.toBeInstanceOf(
      StoreUnavailable,
    );
    server.answer = plainly(true);
    expect(await store.put('a', Buffer.from('x'), { ifAbsent: true })).toEqual({ size: 1 });
  });

  it.each([
    ['ours, whose answer was lost', 'ours', true],
    ['somebody else’s', 'them', false],
    ['somebody else’s of another length', 'theirs', false],
  ])('that finds a blob at its second try looks whose it is: %s', async (_what, there, won) => {
    server.answer = plainly(true);
    await store.put('warm-up', Buffer.from('x'), { ifAbsent: true });
    let tries = 0;
    server.answer = (request, response, body) => {
      if (request.method !== 'PUT') return plainly(true)(request, response, body);
      tries += 1;
      if (tries > 1) return plainly(true)(request, response, body);
      blobs.set('/bucket/a', Buffer.from(there));
      // The blob is stored, the answer never arrives.
      response.destroy();
    };
    const put = store.put('a', Buffer.from('ours'), { ifAbsent: true });
    if (won) expect(await put).toEqual({ size: 4 });
    else await expect(put).rejects.toBeInstanceOf(BlobExists);
    expect(tries).toBe(2);
  });

  it('that finds the same bytes at its first try did not write them', async () => {
    server.answer = plainly(true);
    blobs.set('/bucket/a', Buffer.from('same'));
    await expect(store.put('a', Buffer.from('same'), { ifAbsent: true })).rejects.toBeInstanceOf(BlobExists);
  });

  it('tries again when two at the same moment were both told to', async () => {
    server.answer = plainly(true);
    await store.put('warm-up', Buffer.from('x'), { ifAbsent: true });
    let conflicts = 0;
    server.answer = (request, response, body) => {
      if (request.method === 'PUT' && conflicts < 2) {
        conflicts += 1;
        refuse(response, 409, 'ConditionalRequestConflict');
      } else plainly(true)(request, response, body);
    };
    expect(await store.put('a', Buffer.from('x'), { ifAbsent: true })).toEqual({ size: 1 });
    expect(conflicts).toBe(2);
  });
});

describe('what the store can do', () => {
  it('is nothing where every such request is refused, and leaves no probe', async () => {
    server.answer = (request, response, body) => {
      const simple = request.method === 'DELETE' || request.method === 'HEAD';
      if (simple) plainly(false)(request, response, body);
      else refuse(response, 501, 'NotImplemented');
    };
    expect(await store.capabilities()).toEqual({
      conditionalPut: false,
      multipart: false,
      sealedMultipart: false,
      signedUrls: false,
      signedForms: false,
    });
    expect([...blobs.keys()]).toEqual([]);
  });

  it('does not include signed URLs where signatures are not looked at', async () => {
    server.answer = plainly(true);
    expect(await store.capabilities()).toMatchObject({ conditionalPut: true, signedUrls: false });
    expect([...blobs.keys()]).toEqual([]);
  });

  it('does not include forms whose limits do not hold', async () => {
    server.answer = (request, response, body) => {
      if (request.method === 'POST' && !request.url?.includes('upload')) response.writeHead(204).end();
      else plainly(true)(request, response, body);
    };
    const form = { kind: 'post', key: 'a', minBytes: 1, maxBytes: 2 } as const;
    await expect(store.signDirect(form, { expiresIn: 60, signedAt: new Date() })).rejects.toBeInstanceOf(
      Unsupported,
    );
  });
});

it('a missing bucket is not an upload in parts that is over', async () => {
  server.answer = (_request, response) => refuse(response, 404, 'NoSuchBucket');
  const part = { number: 1, size: 4, etag: '"9dd4e461268c8034f5c8564e155c67a6"' };
  await expect(store.multipart.complete('a', 'u1', [part])).rejects.toBeInstanceOf(StoreUnavailable);
  await expect(store.multipart.put('a', 'u1', 1, Buffer.from('x'))).rejects.toBeInstanceOf(StoreUnavailable);
  await expect(store.multipart.parts('a', 'u1')).rejects.toBeInstanceOf(StoreUnavailable);
  await expect(store.multipart.abort('a', 'u1')).rejects.toBeInstanceOf(StoreUnavailable);
});

describe('a signature', () => {
  const signerFor = (expiration?: Date): ReturnType<typeof createSigner> =>
    createSigner(
      new S3Client({
        region: 'us-east-1',
        endpoint: 'http://127.0.0.1:9',
        forcePathStyle: true,
        credentials: {
          accessKeyId: 'key',
          secretAccessKey: 'secret',
          ...(expiration && { sessionToken: 'token', expiration }),
        },
        requestChecksumCalculation: 'WHEN_REQUIRED',
      }),
      'bucket',
    );
  const secondsOf = (url: string): string | null => new URL(url).searchParams.get('X-Amz-Expires');

  it('never lives longer than the credentials that made it, nor than a week', async () => {
    const signedAt = new Date();
    const inAnHour = new Date(signedAt.getTime() + 3_600_500);
    const put = { kind: 'put', key: 'a' } as const;
    const temporary = await signerFor(inAnHour).direct(put, { expiresIn: 86_400, signedAt });
    expect(secondsOf(temporary.url)).toBe('3600');
    const week = await signerFor().direct(put, { expiresIn: 10_000_000, signedAt });
    expect(secondsOf(week.url)).toBe('604800');
    const { fields = {} } = await signerFor(inAnHour).direct(
      { kind: 'post', key: 'a', minBytes: 1, maxBytes: 2 },
      { expiresIn: 86_400, signedAt },
    );
    const policy = JSON.parse(Buffer.from(fields['Policy'] ?? '', 'base64').toString()) as {
      expiration: string;
    };
    expect(new Date(policy.expiration).getTime()).toBeLessThanOrEqual(inAnHour.getTime());
  });

  it('covers the length and the type, and no checksum of a body that nobody knows', async () => {
    const { url, headers } = await signerFor().direct(
      { kind: 'put', key: 'p/files/a b', size: 5, contentType: 'image/png' },
      { expiresIn: 60, signedAt: new Date('2026-11-24T12:00:00Z') },
    );
    expect(new URL(url).searchParams.get('X-Amz-SignedHeaders')).toBe('content-length;content-type;host');
    expect(headers).toEqual({ 'content-length': '5', 'content-type': 'image/png' });
    expect(url).not.toMatch(/checksum/i);
    expect(new URL(url).pathname).toBe('/bucket/p/files/a%20b');
  });
});
