import { createReadStream } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { FileUrlStorage, Upload } from 'tus-js-client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { freePort, until } from '../acceptance/running-server.ts';
import { startFaultProxy } from '../packages/server/test/fault-proxy.ts';
import { noise, openScene, sha256, sha256OfUrl, stores } from './scene.mjs';

const mebibyte = 1024 * 1024;
const size = 100 * mebibyte + 17;
/** So that what is done at one place of the file is done there and not 50 MiB further on. */
const bytesPerSecond = 30 * mebibyte;

for (const { name, missing, settings } of stores) {
  describe.skipIf(missing)(`tus-js-client on ${name}${missing ? ` (${missing})` : ''}`, () => {
    const bytes = noise(size);
    let proxy;
    let scene;
    let path;
    let storage;

    beforeAll(async () => {
      const port = await freePort();
      // The server's address for clients is the proxy's, so that every link it gives leads through it.
      proxy = await startFaultProxy({ target: { host: '127.0.0.1', port }, speaks: 'bytes' });
      scene = await openScene({ ...settings(), MBK_PUBLIC_URL: `http://127.0.0.1:${proxy.port}` }, port);
      path = join(scene.files, 'film.bin');
      await writeFile(path, bytes);
      storage = join(scene.files, 'uploads.json');
      await writeFile(storage, '{}');
    });
    afterAll(async () => {
      await scene?.close();
      await proxy?.close();
    });

    /** As docs/uploads.md has it; `seen` is what went over the wire. */
    function upload(seen, done, { content = createReadStream(path), ...options } = {}) {
      return new Upload(content, {
        endpoint: `http://127.0.0.1:${proxy.port}/projects/${scene.project}/tus`,
        headers: { 'x-api-key': scene.key },
        metadata: { filename: 'film.bin', filetype: 'application/x-film', scene: 'the harbour' },
        urlStorage: new FileUrlStorage(storage),
        // A server that is killed may take long to come back on a busy machine.
        retryDelays: [0, 100, 300, ...Array.from({ length: 60 }, () => 1000)],
        onAfterResponse: (request, response) => {
          const method = request.getMethod();
          seen.methods.push(method);
          if (response.getStatus() === 200) seen.resumedAt.push(Number(response.getHeader('Upload-Offset')));
          seen.fileId = response.getHeader('X-File-Id') ?? seen.fileId;
        },
        onSuccess: () => done.resolve(),
        onError: (error) => done.reject(error),
        ...options,
      });
    }
    /** The file's id, as the upload's own address tells it once the file exists. */
    async function fileIdOf(client) {
      const address = `/projects/${scene.project}/uploads/${client.url.split('/').at(-1)}`;
      const view = async () => (await scene.me.call('GET', address)).body;
      await until('the file exists', 60, async () => (await view()).status === 'completed');
      return (await view()).file.id;
    }
    const start = () => ({ methods: [], resumedAt: [], fileId: undefined });

    it('brings 100 MiB through broken connections and a kill −9, in two lives of the client', async () => {
      proxy.slow(bytesPerSecond);
      const first = start();
      const halted = deferred();
      // What happens once that much has been sent, in this order.
      const script = [
        [15, async () => proxy.cut()],
        [30, async () => proxy.cut()],
        [45, async () => scene.killAndRestart()],
        [60, async () => proxy.cut()],
        [75, async () => client.abort().then(halted.resolve)],
      ];
      const onProgress = (sent) => {
        if (sent < (script[0]?.[0] ?? Infinity) * mebibyte) return;
        script.shift()[1]().catch(halted.reject);
      };
      const client = upload(first, halted, { onProgress });
      client.start();
      await halted.promise;
      expect(script).toEqual([]);
      // Each return went on behind what had arrived; had it begun anew, an offset would be 0.
      expect(first.methods.filter((method) => method === 'POST')).toHaveLength(1);
      expect(first.resumedAt.length).toBeGreaterThanOrEqual(4);
      expect(Math.min(...first.resumedAt)).toBeGreaterThan(mebibyte);
      expect(first.resumedAt).toEqual([...first.resumedAt].sort((a, b) => a - b));

      const second = start();
      const done = deferred();
      const next = upload(second, done);
      const previous = await next.findPreviousUploads();
      expect(previous).toHaveLength(1);
      next.resumeFromPreviousUpload(previous[0]);
      next.start();
      await done.promise;
      expect(second.methods).not.toContain('POST');
      expect(second.resumedAt[0]).toBeGreaterThanOrEqual(first.resumedAt.at(-1));

      // The new process has not seen the first bytes: it reads the whole file again after its last answer.
      const file = await scene.settled(await fileIdOf(next));
      expect([file.status, file.filename, file.size]).toEqual(['ready', 'film.bin', size]);
      expect(file.metadata).toEqual({ scene: 'the harbour' });
      expect(file.sha256).toBe(sha256(bytes));
      proxy.flow();
      expect(await sha256OfUrl(file.url)).toBe(file.sha256);
      expect(await scene.me.files(scene.project)).toHaveLength(1);
    });

    it('sends an empty file, and one in chunks', async () => {
      for (const [content, chunkSize] of [
        [Buffer.alloc(0), Infinity],
        [bytes.subarray(0, 7 * mebibyte + 5), 3 * mebibyte],
      ]) {
        const seen = start();
        const done = deferred();
        upload(seen, done, { content, chunkSize, storeFingerprintForResuming: false }).start();
        await done.promise;
        const file = await scene.me.file(seen.fileId);
        expect([file.size, file.sha256]).toEqual([content.length, sha256(content)]);
      }
    });

    it('ends an upload that its user gives up', async () => {
      const seen = start();
      const halted = deferred();
      const client = upload(seen, halted, {
        storeFingerprintForResuming: false,
        onProgress: (sent) => {
          if (sent > 10 * mebibyte) client.abort(true).then(halted.resolve, halted.reject);
        },
      });
      client.start();
      await halted.promise;
      const headers = { 'x-api-key': scene.key, 'tus-resumable': '1.0.0' };
      expect((await fetch(client.url, { method: 'HEAD', headers })).status).toBe(410);
      const { body } = await scene.me.call('GET', `/projects/${scene.project}`);
      expect(body.usage.reservedBytes).toBe(0);
    });
  });
}

function deferred() {
  let resolve;
  let reject;
  const promise = new Promise((onValue, onError) => {
    resolve = onValue;
    reject = onError;
  });
  return { promise, resolve, reject };
}
