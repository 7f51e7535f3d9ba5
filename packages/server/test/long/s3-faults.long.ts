import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import type { BlobStore } from '../../src/foundation/blobs/blob-store.js';
import { pattern } from '../../src/foundation/blobs/contract.suite.js';
import { digestBlob } from '../../src/foundation/blobs/copy-blob.js';
import { openBlobStore } from '../../src/foundation/blobs/open.js';
import { slowDown, startFaultProxy, type FaultProxy } from '../fault-proxy.js';
import { s3Access, s3Url, type S3ServerName } from '../s3-access.js';
import { createUploadKit, multipartBody, type UploadKit } from '../upload-kit.js';

/**
 * Whole uploads, through the real rooms and a fault proxy, into S3 servers that nobody here wrote, while those fail
 * in the middle. Nothing may fail that a retry could save, what fails is seen by nobody, and nothing is left behind.
 * `npm run test:s3` starts the servers; a gateway is killed only in the folder of TEST_S3_RGW_FOLDER.
 */
const bounded = process.env['TEST_BOUNDED'] === '1';
const parallel = 24;
const kilobyte = 1024;
const megabyte = 1024 * kilobyte;
const seed = 20_261_126;
const slow = 240_000;
const rgwScript = fileURLToPath(new URL('../../../../scripts/s3/rgw.sh', import.meta.url));
const execute = promisify(execFile);

/** Bytes of each upload: mostly 50 KB to 1 MB, every eighth larger than a part, so that all kinds of puts are under way. */
function sizes(server: S3ServerName): readonly number[] {
  const random = seeded(seed);
  const count = (server === 'rgw' ? 160 : 80) / (bounded ? 2 : 1);
  return Array.from({ length: count }, (_, n) =>
    n % 8 === 0
      ? Math.floor((8.5 + random() * 11.5) * megabyte)
      : Math.floor((50 + random() * 950) * kilobyte),
  );
}

for (const name of ['rgw', 'swift'] as const) {
  const url = s3Url(name);
  if (url === undefined) {
    describe(`uploads into ${name}`, () => {
      it.skip(`needs TEST_S3_${name.toUpperCase()}`, () => undefined);
    });
    continue;
  }

  describe(`uploads into ${name}`, { timeout: slow }, () => {
    let proxy: FaultProxy;
    let direct: BlobStore;
    let kit: UploadKit;
    let throughProxy: BlobStore;
    beforeEach(async () => {
      proxy = await startFaultProxy({
        target: { host: url.hostname, port: Number(url.port) },
        speaks: 'http',
      });
      direct = await openBlobStore(s3Access(url, 'mediablobkit-faults'));
      throughProxy = await openBlobStore(
        s3Access(url, 'mediablobkit-faults', `http://127.0.0.1:${proxy.port}`),
      );
      await empty(direct);
      kit = await createUploadKit({ backing: throughProxy, poolSize: 20 });
    }, slow);
    afterEach(async () => {
      await kit.close();
      await empty(direct);
      await throughProxy.close();
      await direct.close();
      await proxy.close();
    }, slow);

    /** Uploads everything; once a quarter is acknowledged, the fault happens, and everything must be in order after. */
    const survive = async (
      what: string,
      fault: () => Promise<void>,
      hopeless: (size: number) => boolean = () => false,
    ): Promise<void> => {
      const projectId = await kit.project();
      const all = sizes(name).map((size, n) => ({ n, size }));
      const acknowledged = new Map<string, { readonly size: number; readonly sha256: string }>();
      const refused: { readonly size: number; readonly status: number; readonly code: string | undefined }[] =
        [];
      const waiting = [...all];
      const begun = performance.now();
      let broken: Promise<void> | undefined;
      const worker = async (): Promise<void> => {
        for (let next = waiting.shift(); next; next = waiting.shift()) {
          if (acknowledged.size >= all.length / 4) broken ??= fault();
          const content = pattern(next.size);
          content.writeUInt32LE(next.n, 8);
          const sha256 = createHash('sha256').update(content).digest('hex');
          const answer = await kit.send(projectId, multipartBody([{ filename: `${next.n}.bin`, content }]));
          const body = (await answer.json()) as { id: string; sha256: string; code?: string };
          if (answer.status !== 201) {
            refused.push({ size: next.size, status: answer.status, code: body.code });
            continue;
          }
          expect(body.sha256).toBe(sha256);
          acknowledged.set(body.id, { size: next.size, sha256 });
        }
      };
      await Promise.all(Array.from({ length: parallel }, worker));
      expect(broken).toBeDefined();
      await broken;
      const seconds = (performance.now() - begun) / 1000;

      const rows = await kit.db.selectFrom('files').selectAll().where('project_id', '=', projectId).execute();
      const seen = rows.filter((row) => row.status !== 'aborted');
      expect(seen.map((row) => row.id).sort()).toEqual([...acknowledged.keys()].sort());
      for (const row of seen) {
        const stored = await digestBlob(direct, row.s3_key, new AbortController().signal);
        expect({ size: stored?.size, sha256: stored?.sha256.toString('hex') }).toEqual(
          acknowledged.get(row.id),
        );
      }
      // What the hourly job does with uploads that are a day old: an answer that was lost leaves one nobody knows.
      const unfinished = await direct.removeStaleTemporaries(-60_000);
      const left = await kit.leftovers(projectId);
      const after: string[] = [];
      for await (const { key } of direct.multipart.list('')) after.push(key);
      console.log(
        `${name}, ${what}: ${all.length} uploads (${Math.round(all.reduce((sum, { size }) => sum + size, 0) / megabyte)} MiB) in ${seconds.toFixed(1)} s, ` +
          `${proxy.counts.faults} faults over ${proxy.counts.calls} requests, ${refused.length} failed, ` +
          `left: ${left.rows - acknowledged.size} rows, ${left.blobs.length - acknowledged.size} blobs, ${left.tombstones} tombstones, ` +
          `${left.reservedBytes} bytes reserved, ${after.length} unfinished multipart uploads (${unfinished} swept)`,
      );
      expect([...left.blobs].sort()).toEqual(seen.map((row) => row.s3_key).sort());
      expect(left).toMatchObject({ reservedBytes: 0, reservedFiles: 0, tombstones: 0 });
      expect(left.rows).toBe(acknowledged.size);
      expect(after).toEqual([]);
      expect(refused.filter(({ size }) => !hopeless(size))).toEqual([]);
      for (const { status } of refused) expect(status).toBe(503);
    };

    it.each([500, 2_000])('survive that the server is away for %d ms', async (milliseconds) => {
      await survive(`away for ${milliseconds} ms`, async () => {
        await proxy.refuse();
        await sleep(milliseconds);
        await proxy.accept();
      });
    });

    it('survive a storm of 503', async () => {
      await survive('503 storm', async () => {
        const end = proxy.fail({ times: Infinity, fault: slowDown });
        await sleep(2_000);
        end();
        proxy.fail({ every: 4, times: 30, fault: slowDown });
      });
    });

    it('survive answers that are lost after the work was done', async () => {
      await survive('lost answers', async () => {
        const lost = { every: 5, times: 5, fault: { kind: 'lose-answer' } } as const;
        proxy.fail({ match: /^PUT [^?]*\.bin(\?x-id=PutObject)?$/, ...lost });
        proxy.fail({ match: /^PUT .*partNumber=/, ...lost });
        proxy.fail({ match: /^POST .*\?uploads/, ...lost, every: 2 });
        proxy.fail({ match: /^POST .*[?&]uploadId=/, ...lost, every: 2 });
        return Promise.resolve();
      });
    });

    it('survive connections that are cut again and again', async () => {
      await survive('connections cut', async () => {
        for (let n = 0; n < 5; n += 1) {
          proxy.cut();
          await sleep(300);
        }
      });
    });

    it('fail alone when no retry saves them, unseen, and leave nothing', async () => {
      await survive(
        'second parts never taken',
        () => {
          proxy.fail({ match: /^PUT .*partNumber=2/, times: Infinity, fault: slowDown });
          return Promise.resolve();
        },
        (size) => size > 8 * megabyte,
      );
    });

    const folder = process.env['TEST_S3_RGW_FOLDER'];
    if (name === 'rgw') {
      it.skipIf(folder === undefined)('survive a kill −9 of the gateway', async () => {
        await survive('kill −9', async () => {
          proxy.counts.faults += 1;
          await execute('bash', [rgwScript, 'kill-gateway', folder ?? '']);
          await execute('bash', [rgwScript, 'start-gateway', folder ?? '']);
        });
      });
    }
  });
}

async function empty(store: BlobStore): Promise<void> {
  const keys: string[] = [];
  for await (const { key } of store.list({ prefix: '' })) keys.push(key);
  expect(await store.deleteMany(keys)).toEqual([]);
  await store.removeStaleTemporaries(-60_000);
}

/** Numbers in [0, 1), the same in every run (mulberry32). */
function seeded(start: number): () => number {
  let state = start;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
