import { once } from 'node:events';
import { createServer, request as httpRequest, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pino } from 'pino';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BlobExists, StoreUnavailable, type BlobStore } from '../../src/foundation/blobs/blob-store.js';
import { blobAbilitiesContract, testCopyLimits } from '../../src/foundation/blobs/abilities.suite.js';
import {
  blobStoreContract,
  expectSame,
  inChunks,
  pattern,
  type OpenedStore,
} from '../../src/foundation/blobs/contract.suite.js';
import { openBlobStore } from '../../src/foundation/blobs/open.js';
import type { S3StoreOptions } from '../../src/foundation/blobs/s3.js';
import { buffer } from 'node:stream/consumers';
import { startFaultProxy } from '../fault-proxy.js';

/**
 * The contract suite on S3 servers that nobody here wrote. Each variable is a URL with the credentials in it,
 * percent-encoded: `TEST_S3_RGW=http://key:secret@127.0.0.1:18301`. The bucket `mediablobkit-contract` is made,
 * emptied and left there. `npm run test:s3` starts both servers and sets both variables.
 */
const servers = { rgw: process.env['TEST_S3_RGW'], swift: process.env['TEST_S3_SWIFT'] };
/** What each server is known not to have. */
const lacking = { rgw: [], swift: ['conditionalPut', 'sealedMultipart', 'signedForms'] } as const;
const slow = 120_000;
const log = pino({ level: 'silent' });

for (const name of ['rgw', 'swift'] as const) {
  const url = servers[name];
  if (url === undefined) {
    describe(`a blob store: ${name}`, () => {
      it.skip(`needs TEST_S3_${name.toUpperCase()}`, () => undefined);
    });
    continue;
  }
  const access = accessFrom(url);

  const openStore = async (): Promise<OpenedStore> => {
    const store = await openBlobStore({ ...access, createBucket: true, copyLimits: testCopyLimits });
    await empty(store);
    return {
      store,
      close: async () => {
        await empty(store);
        await store.close();
      },
    };
  };
  blobStoreContract(name, openStore, { presigns: true, timeout: slow });
  blobAbilitiesContract(name, openStore, { lacks: lacking[name], timeout: slow });

  describe(`the S3 store on ${name}`, { timeout: slow }, () => {
    let store: BlobStore;
    beforeAll(async () => {
      store = await openBlobStore({ ...access, createBucket: true });
    });
    afterAll(() => store.close());

    const withStore = async (changes: Partial<S3StoreOptions>, use: (other: BlobStore) => Promise<void>) => {
      const other = await openBlobStore({ ...access, ...changes });
      try {
        await use(other);
      } finally {
        await other.close();
      }
    };

    it('makes the bucket only once', async () => {
      await withStore({ createBucket: true }, (again) => again.check());
    });

    it('says that the bucket is missing instead of that its blobs are', async () => {
      await withStore({ bucket: 'mediablobkit-nowhere' }, async (nowhere) => {
        await expect(nowhere.check()).rejects.toThrow(/bucket .*does not exist/);
        await expect(nowhere.get('a/b')).rejects.toBeInstanceOf(StoreUnavailable);
        await expect(nowhere.stat('a/b')).rejects.toBeInstanceOf(StoreUnavailable);
        await expect(nowhere.delete('a/b')).rejects.toBeInstanceOf(StoreUnavailable);
        expect(await nowhere.deleteMany(['a/b'])).toEqual([{ key: 'a/b', reason: expect.any(String) }]);
      });
    });

    it('says that the credentials are wrong', async () => {
      const { accessKeyId = '' } = access.credentials ?? {};
      await withStore({ credentials: { accessKeyId, secretAccessKey: 'wrong' } }, async (stranger) => {
        await expect(stranger.check()).rejects.toThrow(/secret key is wrong|may not do this/);
        await expect(stranger.get('a/b')).rejects.toBeInstanceOf(StoreUnavailable);
      });
    });

    it('says that nobody answers, in 10 s at the latest', async () => {
      await withStore({ endpoint: 'http://127.0.0.1:9' }, async (silent) => {
        const begun = Date.now();
        await expect(silent.check()).rejects.toBeInstanceOf(StoreUnavailable);
        expect(Date.now() - begun).toBeLessThan(12_000);
        const asked = Date.now();
        await expect(silent.capabilities()).rejects.toBeInstanceOf(StoreUnavailable);
        expect(Date.now() - asked).toBeLessThan(12_000);
      });
    });

    it('leaves no multipart upload of puts that failed half-way', async () => {
      const body = new Readable({ read: () => undefined });
      body.push(pattern(30 * 1024 * 1024));
      const abort = new AbortController();
      const put = expect(store.put('contract/half/aborted', body, { signal: abort.signal })).rejects.toThrow(
        'enough',
      );
      await expect.poll(() => body.readableLength, { timeout: slow }).toBe(0);
      abort.abort(new Error('enough'));
      await put;
      await expect(
        store.put('contract/half/short', inChunks(pattern(20 * 1024 * 1024), 65_536), {
          size: 21 * 1024 * 1024,
        }),
      ).rejects.toThrow('declared');
      expect(await store.removeStaleTemporaries(-60_000)).toBe(0);
    });

    it('removes multipart uploads that nobody finished', async () => {
      const body = new Readable({ read: () => undefined });
      body.push(pattern(30 * 1024 * 1024));
      const put = expect(store.put('contract/left/over', body)).rejects.toBeInstanceOf(StoreUnavailable);
      await expect.poll(() => body.readableLength, { timeout: slow }).toBe(0);
      await expect.poll(() => store.removeStaleTemporaries(-60_000), { timeout: slow }).toBe(1);
      body.push(null);
      await put;
      expect(await store.stat('contract/left/over')).toBeUndefined();
    });

    it('proves mass deletions by Content-MD5, and sends no checksum that older servers do not know', async () => {
      const heard: IncomingMessage[] = [];
      const { port } = new URL(access.endpoint ?? '');
      const recorder = createServer((request, response) => {
        heard.push(request);
        const { method, url: path, headers } = request;
        const passed = httpRequest({ host: '127.0.0.1', port, method, path, headers }, (answer) => {
          response.writeHead(answer.statusCode ?? 502, answer.headers);
          answer.pipe(response);
        });
        // Swift ends some bodiless answers with the last chunk of a body, which Node takes for garbage.
        passed.on('error', () => response.headersSent || response.destroy());
        request.pipe(passed);
      });
      recorder.listen(0, '127.0.0.1');
      await once(recorder, 'listening');
      const endpoint = `http://127.0.0.1:${(recorder.address() as AddressInfo).port}`;
      try {
        await withStore({ endpoint }, async (recorded) => {
          const keys = Array.from({ length: 1_003 }, (_, index) => `contract/md5/${index}`);
          await recorded.put(keys[0] ?? '', inChunks(pattern(9 * 2 ** 20), 65_536));
          await recorded.put(keys[1] ?? '', pattern(10));
          expect(await recorded.deleteMany(keys)).toEqual([]);
          expect(await recorded.stat(keys[0] ?? '')).toBeUndefined();
        });
      } finally {
        recorder.closeAllConnections();
        recorder.close();
      }
      const deletions = heard.filter(
        ({ method, url: path }) => method === 'POST' && /[?&]delete/.test(path ?? ''),
      );
      expect(deletions).toHaveLength(2);
      for (const { headers } of deletions) expect(headers['content-md5']).toMatch(/^[\w+/]{22}==$/);
      const odd = heard.flatMap(({ headers }) =>
        Object.keys(headers).filter((header) => /checksum|trailer|content-encoding|expect/.test(header)),
      );
      expect(odd).toEqual([]);
    });

    it.each([
      ['a part', /^PUT .*partNumber=1/],
      ['a completion', /^POST .*uploadId=/],
      ['an abort', /^DELETE .*uploadId=/],
      ['a copy', /^PUT .*x-id=CopyObject/],
      ['a copy of a part', /^PUT .*x-id=UploadPartCopy/],
    ])('does not mind that the answer to %s is lost', async (_what, match) => {
      const { hostname: host, port } = new URL(access.endpoint ?? '');
      const proxy = await startFaultProxy({ target: { host, port: Number(port) }, speaks: 'http' });
      try {
        const endpoint = `http://127.0.0.1:${proxy.port}`;
        await withStore({ endpoint, copyLimits: testCopyLimits }, async (lossy) => {
          proxy.fail({ match, fault: { kind: 'lose-answer' } });
          const key = 'contract/lost/parts';
          const id = await lossy.multipart.begin(key);
          const bytes = pattern(7 * 2 ** 20);
          const parts = [
            await lossy.multipart.put(key, id, 1, inChunks(bytes, 65_536)),
            await lossy.multipart.put(key, id, 2, Buffer.from('end')),
          ];
          expect(await lossy.multipart.complete(key, id, parts)).toEqual({ size: bytes.length + 3 });
          await lossy.copy(key, 'contract/lost/copy');
          await lossy.put('contract/lost/small', Buffer.from('small'));
          await lossy.copy('contract/lost/small', 'contract/lost/small-copy');
          await lossy.multipart.abort(key, await lossy.multipart.begin(key));
          expectSame(
            await buffer((await lossy.get('contract/lost/copy')).body),
            Buffer.concat([bytes, Buffer.from('end')]),
          );
          expect(proxy.counts.faults).toBe(1);
          for await (const unfinished of lossy.multipart.list('contract/lost/'))
            expect(unfinished).toBeUndefined();
        });
      } finally {
        await proxy.close();
      }
    });

    it.runIf(name === 'rgw')('knows its own conditional put when the answer was lost', async () => {
      const { hostname: host, port } = new URL(access.endpoint ?? '');
      const proxy = await startFaultProxy({ target: { host, port: Number(port) }, speaks: 'http' });
      try {
        await withStore({ endpoint: `http://127.0.0.1:${proxy.port}` }, async (lossy) => {
          expect(await lossy.capabilities()).toMatchObject({ conditionalPut: true });
          await lossy.delete('contract/lost/mark');
          proxy.fail({ match: /^PUT .*mark/, fault: { kind: 'lose-answer' } });
          await lossy.put('contract/lost/mark', Buffer.from('ours'), { ifAbsent: true });
          expect(proxy.counts.faults).toBe(1);
          proxy.fail({ match: /^PUT .*mark/, fault: { kind: 'lose-answer' } });
          const second = lossy.put('contract/lost/mark', Buffer.from('them'), { ifAbsent: true });
          await expect(second).rejects.toBeInstanceOf(BlobExists);
          expect((await buffer((await lossy.get('contract/lost/mark')).body)).toString()).toBe('ours');
        });
      } finally {
        await proxy.close();
      }
    });

    it('signs for the public endpoint only', async () => {
      await withStore({ publicEndpoint: 'https://media.example.test' }, async (published) => {
        await published.put('contract/public', Buffer.from('x'));
        const signedUrl = await published.presignGet('contract/public', {
          expiresIn: 60,
          signedAt: new Date(),
        });
        expect(new URL(signedUrl ?? '').origin).toBe('https://media.example.test');
        expectSame(await buffer((await published.get('contract/public')).body), Buffer.from('x'));
        await published.delete('contract/public');
      });
    });
  });
}

function accessFrom(url: string): S3StoreOptions & { readonly backend: 's3' } {
  const { origin, username, password } = new URL(url);
  return {
    backend: 's3',
    bucket: 'mediablobkit-contract',
    endpoint: origin,
    region: 'us-east-1',
    forcePathStyle: true,
    credentials: {
      accessKeyId: decodeURIComponent(username),
      secretAccessKey: decodeURIComponent(password),
    },
    log,
  };
}

async function empty(store: BlobStore): Promise<void> {
  const keys: string[] = [];
  for await (const { key } of store.list({ prefix: '' })) keys.push(key);
  await store.deleteMany(keys);
  await store.removeStaleTemporaries(-60_000);
}
