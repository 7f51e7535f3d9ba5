import { afterEach, describe, expect, it } from 'vitest';

import { cleanupOptions } from '../../../test/cleanup-options.js';
import { noise } from '../../../test/fixtures/noise.js';
import { startFaultProxy, type FaultProxy } from '../../../test/fault-proxy.js';
import { openRaw, type RawRequest } from '../../../test/raw-http.js';
import {
  createUploadKit,
  multipartBody,
  multipartType,
  nothing,
  type UploadKit,
  type UploadKitOptions,
} from '../../../test/upload-kit.js';
import { StoreFull, StoreUnavailable, type BlobStore } from '../../foundation/blobs/blob-store.js';
import { openDatabase, type Database } from '../../foundation/database/connect.js';
import { createLog } from '../../foundation/log.js';
import { createCleanup } from '../cleanup/cleanup.js';

let kit: UploadKit;
afterEach(() => kit.close());

/** A store whose puts meet with something; everything else is the real one. */
function withPut(
  put: (real: BlobStore, ...args: Parameters<BlobStore['put']>) => ReturnType<BlobStore['put']>,
) {
  return (real: BlobStore): BlobStore => ({ ...real, put: (...args) => put(real, ...args) });
}

async function start(options: UploadKitOptions): Promise<string> {
  kit = await createUploadKit(options);
  return kit.project();
}

const large = multipartBody([{ filename: 'a.bin', content: noise(300_000) }]);
const small = multipartBody([{ filename: 'a.txt', content: 'hello' }]);

describe('a store', () => {
  it.each<[string, Error, number, string]>([
    ['that is full', new StoreFull('no space', 'key'), 507, 'storage-full'],
    ['that is away', new StoreUnavailable('connection refused', 'key'), 503, 'service-unavailable'],
  ])('%s: nothing is kept, and the answer says so', async (_name, fault, status, code) => {
    const project = await start({
      store: withPut(async (_real, _key, body) => {
        // After the first bytes, as a real one would notice.
        if (!Buffer.isBuffer(body)) for await (const chunk of body) if (chunk) break;
        throw fault;
      }),
    });
    for (const body of [large, small]) {
      const answer = await kit.send(project, body);
      expect(answer.status).toBe(status);
      expect(await answer.json()).toMatchObject({ code, errors: [{ pointer: '#/parts/0' }] });
      expect(await kit.leftovers(project)).toEqual(nothing);
    }
  });

  it('that fails for the second file keeps nothing of the first', async () => {
    let puts = 0;
    const project = await start({
      store: withPut(async (real, ...args) => {
        if (++puts === 2) throw new StoreUnavailable('gone', args[0]);
        return real.put(...args);
      }),
    });
    const answer = await kit.send(
      project,
      multipartBody([
        { filename: 'a.txt', content: 'one' },
        { filename: 'b.txt', content: 'two' },
      ]),
    );
    expect(answer.status).toBe(503);
    expect(answer.headers.get('retry-after')).toBe('5');
    expect(await answer.json()).toMatchObject({ errors: [{ pointer: '#/parts/1' }] });
    expect(await kit.leftovers(project)).toEqual(nothing);
  });

  it('that stores a blob and then reports a failure leaves no blob', async () => {
    const project = await start({
      store: withPut(async (real, ...args) => {
        await real.put(...args);
        throw new StoreUnavailable('the answer was lost', args[0]);
      }),
    });
    expect((await kit.send(project, large)).status).toBe(503);
    // Somebody may still be writing the key, so its deletion comes twice.
    const buried = await kit.db.selectFrom('tombstones').selectAll().executeTakeFirstOrThrow();
    expect(buried.again_after).not.toBeNull();
    expect(buried.reason).toBe('upload failed');
    expect(await kit.leftovers(project)).toEqual(nothing);
  });

  it('that is slow holds the sender back and is not the sender’s fault', async () => {
    const project = await start({
      limits: { idleTimeoutMs: 100, minBytesPerSecond: 1_000_000 },
      store: withPut(async (real, key, body, options) => {
        await new Promise((resolve) => setTimeout(resolve, 300));
        return real.put(key, body, options);
      }),
    });
    const answer = await kit.send(project, large);
    expect(answer.status).toBe(201);
    expect(await kit.usage(project)).toEqual({ bytes: 300_000, files: 1, reserved: 0, reservedFiles: 0 });
  });
});

describe('the database', () => {
  it('losing the connection in the completing transaction keeps nothing', async () => {
    const project = await start({
      planVariants: async (tx) => {
        await tx
          .selectNoFrom((eb) =>
            eb.fn<boolean>('pg_terminate_backend', [eb.fn('pg_backend_pid', [])]).as('gone'),
          )
          .execute();
        return 'ready';
      },
    });
    expect((await kit.send(project, large)).status).toBeGreaterThanOrEqual(500);
    expect(await kit.leftovers(project)).toEqual(nothing);
  });

  it('going away for good between the two transactions leaves a row that cleanup removes', async () => {
    const project = await start({
      store: withPut(async (real, ...args) => {
        const stored = await real.put(...args);
        await kit.testDatabase.database.close();
        return stored;
      }),
    });
    const { url } = kit.testDatabase;
    expect((await kit.send(project, large)).status).toBeGreaterThanOrEqual(500);

    const log = await createLog({ level: 'silent', pretty: false });
    const database = openDatabase({
      url,
      poolSize: 2,
      statementTimeoutMs: 5_000,
      lockTimeoutMs: 5_000,
      applicationName: 'after the fault',
      log,
    });
    try {
      const left = await database.db.selectFrom('files').selectAll().executeTakeFirstOrThrow();
      expect(left).toMatchObject({ status: 'uploading', project_id: project });
      expect(await kit.blobs.stat(left.s3_key)).toBeDefined();

      const repair = createCleanup({
        db: database.db,
        blobs: kit.blobs,
        log,
        ...cleanupOptions,
        uploadStaleSeconds: 0,
      });
      // As the timetable does.
      for (const { kind } of repair.timetable) {
        const handler = repair.handlers.find((one) => one.kind === kind)!;
        const signal = new AbortController().signal;
        const finish = () => Promise.reject(new Error('unused'));
        await handler.run({
          id: '',
          payload: {},
          projectId: null,
          attempt: 1,
          lastAttempt: false,
          signal,
          log,
          finish,
        });
      }
      expect(await database.db.selectFrom('files').select('id').execute()).toEqual([]);
      expect(await kit.blobs.stat(left.s3_key)).toBeUndefined();
      const usage = await database.db.selectFrom('project_usage').selectAll().executeTakeFirstOrThrow();
      expect(usage).toMatchObject({ reserved_bytes: 0, reserved_files: 0, original_bytes: 0, file_count: 0 });
    } finally {
      await database.close();
    }
  });
});

describe('an upload under way', () => {
  /** Sends a body that begins and does not end. */
  async function begin(project: string): Promise<RawRequest> {
    const request = await openRaw(kit.port, [
      `POST /projects/${project}/upload HTTP/1.1`,
      'Host: test',
      `Content-Type: ${multipartType}`,
      `Content-Length: ${large.length}`,
    ]);
    request.write(large.subarray(0, 100_000));
    await expect
      .poll(async () => (await kit.db.selectFrom('files').select('id').execute()).length, { interval: 5 })
      .toBe(1);
    return request;
  }

  it('renews its row, so that cleanup leaves it alone', async () => {
    const project = await start({ heartbeatMs: 20, uploadStaleSeconds: 0.2 });
    const request = await begin(project);
    const { heartbeat_at: first } = await kit.db
      .selectFrom('files')
      .select('heartbeat_at')
      .executeTakeFirstOrThrow();
    await expect
      .poll(
        async () =>
          (
            await kit.db.selectFrom('files').select('heartbeat_at').executeTakeFirstOrThrow()
          ).heartbeat_at.getTime() - first.getTime(),
        { interval: 20, timeout: 5_000 },
      )
      .toBeGreaterThan(300);
    await kit.cleanup('expire-uploads');
    expect(await kit.db.selectFrom('files').select('id').execute()).toHaveLength(1);
    request.socket.destroy();
    await expect.poll(() => kit.uploads.activeUploads()).toBe(0);
    expect(await kit.leftovers(project)).toEqual(nothing);
  });

  it('that cleanup took for dead ends itself at its next heartbeat', async () => {
    const project = await start({ heartbeatMs: 50, uploadStaleSeconds: 0 });
    const request = await begin(project);
    // A heartbeat at the very moment of the cleanup keeps the row once more.
    await expect
      .poll(async () => {
        await kit.cleanup('expire-uploads');
        return kit.db.selectFrom('files').select('id').execute();
      })
      .toEqual([]);
    expect(await request.status()).toBe(503);
    expect(await kit.leftovers(project)).toEqual(nothing);
  });

  it('is aborted when the server closes its uploads', async () => {
    const project = await start({});
    const request = await begin(project);
    expect(kit.uploads.activeUploads()).toBe(1);
    await kit.uploads.close();
    expect(kit.uploads.activeUploads()).toBe(0);
    expect(await request.status()).toBe(503);
    expect(await kit.leftovers(project)).toEqual(nothing);
    expect((await kit.send(project, small)).status).toBe(503);
  });
});

describe('a database whose answer to the last COMMIT is lost', () => {
  let proxy: FaultProxy;
  let database: Database;
  afterEach(async () => {
    await database.close();
    await proxy.close();
  });

  it.each([
    ['a moment', 0],
    ['a while', 3],
  ])('for %s: the files stand, and the client is told so', async (_name, further) => {
    const project = await start({
      async reach(url) {
        const { searchParams, hostname, port } = new URL(url);
        const folder = searchParams.get('host');
        const target = folder
          ? { path: `${folder}/.s.PGSQL.5432` }
          : { host: hostname, port: Number(port || 5432) };
        proxy = await startFaultProxy({ target, speaks: 'bytes' });
        const by = new URL(url);
        by.searchParams.delete('host');
        by.host = `127.0.0.1:${proxy.port}`;
        database = openDatabase({
          url: by.href,
          poolSize: 4,
          statementTimeoutMs: 15_000,
          lockTimeoutMs: 10_000,
          applicationName: 'mediablobkit test',
          log: await createLog({ level: 'silent', pretty: false }),
        });
        return database.db;
      },
    });
    proxy.fail({
      match: /commit/i,
      from: 2,
      fault: { kind: 'lose-answer' },
      onFault: () => proxy.fail({ times: further, fault: { kind: 'reset' } }),
    });
    const response = await kit.send(project, small);
    expect(proxy.counts.faults).toBe(1 + further);
    expect(response.status).toBe(201);
    expect(await kit.usage(project)).toMatchObject({ files: 1, bytes: 5, reserved: 0 });
  });
});
