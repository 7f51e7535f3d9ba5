import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { claimStore } from '../../src/features/cleanup/store-identity.js';
import type { BlobStore } from '../../src/foundation/blobs/blob-store.js';
import { pattern } from '../../src/foundation/blobs/contract.suite.js';
import { openDiskStore } from '../../src/foundation/blobs/disk.js';
import { readIdentity } from '../../src/foundation/blobs/identity.js';
import { openBlobStore } from '../../src/foundation/blobs/open.js';
import { createCopyScene, type CopyScene, type Ended } from '../copy-scene.js';
import { startFaultProxy } from '../fault-proxy.js';
import { s3Access, s3Url } from '../s3-access.js';

/** `mediablobkit storage copy` and `storage cors` on S3 servers that nobody here wrote; see `s3-faults.long.ts`. */
const bounded = process.env['TEST_BOUNDED'] === '1';
const megabyte = 1024 * 1024;
const slow = 240_000;
const bucket = 'mediablobkit-copy';

/** Blobs that the command copies at the same time. */
const copyHands = 6;

for (const name of ['rgw', 'swift'] as const) {
  const url = s3Url(name);
  if (url === undefined) {
    describe(`storage commands on ${name}`, () => {
      it.skip(`needs TEST_S3_${name.toUpperCase()}`, () => undefined);
    });
    continue;
  }

  describe(`storage commands on ${name}`, { timeout: slow }, () => {
    let scene: CopyScene;
    let s3: BlobStore;
    beforeEach(async () => {
      scene = await createCopyScene();
      s3 = await openBlobStore(s3Access(url, bucket));
      await empty(s3);
    });
    afterEach(async () => {
      await empty(s3);
      await s3.close();
      await scene.close();
    });

    const keys = {
      AWS_ACCESS_KEY_ID: decodeURIComponent(url.username),
      AWS_SECRET_ACCESS_KEY: decodeURIComponent(url.password),
    };
    const bucketAt = (endpoint: string): string => `s3://${bucket}?endpoint=${endpoint}`;
    const copy = (from: string, to: string, ...more: string[]): Promise<Ended> =>
      scene.ended(scene.start(['copy', '--from', from, '--to', to, ...more], keys));
    const disk = (): string => `disk:${scene.from.path}`;

    it('copies disk to S3, goes on after a kill −9, finds an altered copy, and copies back', async () => {
      const count = bounded ? 60 : 200;
      const sizes = Array.from({ length: count }, (_, n) =>
        n % 20 === 0 ? 9 * megabyte + n : 20_000 + n * 500,
      );
      const all: string[] = [];
      for (const size of sizes) all.push(await scene.upload(pattern(size)));

      const proxy = await startFaultProxy({
        target: { host: url.hostname, port: Number(url.port) },
        speaks: 'http',
      });
      proxy.slow(6 * megabyte);
      const child = scene.start(
        ['copy', '--from', disk(), '--to', bucketAt(`http://127.0.0.1:${proxy.port}`)],
        keys,
      );
      await expect.poll(() => copied(s3), { timeout: slow, interval: 100 }).toBeGreaterThan(count / 4);
      child.kill('SIGKILL');
      await once(child, 'close');
      await proxy.close();
      const there = await copied(s3);
      expect(there).toBeLessThan(count);
      expect(await readIdentity(s3)).toBeUndefined();

      const begun = performance.now();
      const rest = await copy(disk(), bucketAt(url.origin));
      const seconds = (performance.now() - begun) / 1000;
      expect(rest).toMatchObject({ code: 0 });
      expect(rest.output).toContain(`Copied and read back: ${count - verified(rest)} blobs`);
      // What the killed program had sent to its end may have appeared after it was counted: a blob for each of its hands.
      expect(verified(rest)).toBeLessThanOrEqual(there + copyHands);
      expect(rest.output).toContain(`MBK_S3_BUCKET=${bucket}`);
      expect(rest.output).not.toContain(keys.AWS_SECRET_ACCESS_KEY);
      expect(await claimStore({ db: scene.db, blobs: s3 })).toBeUndefined();
      console.log(
        `${name}: killed with ${there} of ${count} blobs there; the second run took ${seconds.toFixed(1)} s`,
      );

      const [first = '', second = ''] = all;
      await s3.put(first, randomBytes(sizes[0] ?? 0));
      await s3.delete(second);
      const mended = await copy(disk(), bucketAt(url.origin), '--reread');
      expect(mended).toMatchObject({ code: 0 });
      expect(mended.output).toContain('Copied and read back: 2 blobs');

      // What the source lost is copied back from the bucket, and checked against the rows.
      const back = await copy(bucketAt(url.origin), `disk:${scene.to.path}`);
      expect(back).toMatchObject({ code: 0 });
      for (const key of all) {
        const [before, after] = await Promise.all([
          readFile(join(scene.from.path, key)),
          readFile(join(scene.to.path, key)),
        ]);
        expect(after.equals(before)).toBe(true);
      }
      const target = await openDiskStore({ folder: scene.to.path });
      expect(await claimStore({ db: scene.db, blobs: target })).toBeUndefined();
      await s3.removeStaleTemporaries(-60_000);
    });

    it('sets the CORS rules and reads them back, or says that the server has none', async () => {
      const env = {
        ...keys,
        MBK_S3_BUCKET: bucket,
        MBK_S3_ENDPOINT: url.origin,
        MBK_CORS_ORIGINS: 'https://app.example.com',
      };
      const cors = (...args: string[]): Promise<Ended> => scene.ended(scene.start(['cors', ...args], env));
      const applied = await cors('--apply');
      if (name === 'swift') {
        expect(applied.code).toBe(1);
        expect(applied.output).toContain('the server has no CORS rules of buckets (it answers 501)');
        return;
      }
      expect(applied.code).toBe(0);
      expect((await cors()).output).toContain(`The bucket ${bucket} has these rules.`);

      // A browser's preflights, and a foreign page's.
      const preflight = async (origin: string, method: string): Promise<string | null> => {
        const answer = await fetch(`${url.origin}/${bucket}/key`, {
          method: 'OPTIONS',
          headers: {
            origin,
            'access-control-request-method': method,
            'access-control-request-headers': 'content-type',
          },
        });
        await answer.arrayBuffer();
        return answer.headers.get('access-control-allow-origin');
      };
      expect(await preflight('https://app.example.com', 'PUT')).toBe('https://app.example.com');
      expect(await preflight('https://evil.example.com', 'PUT')).toBeNull();
      expect(await preflight('null', 'GET')).not.toBeNull();
    });
  });
}

/** Blobs that the last run found there already. */
function verified({ output }: Ended): number {
  const counts = [...output.matchAll(/There already, [^:]*: (\d+) blobs/g)].map(([, count]) => Number(count));
  return counts.reduce((sum, count) => sum + count, 0);
}

async function copied(store: BlobStore): Promise<number> {
  let count = 0;
  for await (const { key } of store.list({ prefix: '' })) if (!key.startsWith('.')) count += 1;
  return count;
}

async function empty(store: BlobStore): Promise<void> {
  const keys: string[] = [];
  for await (const { key } of store.list({ prefix: '' })) keys.push(key);
  expect(await store.deleteMany(keys)).toEqual([]);
  await store.removeStaleTemporaries(-60_000);
}
