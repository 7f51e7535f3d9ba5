import { readdirSync } from 'node:fs';
import { promisify } from 'node:util';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { noise } from '../../../test/fixtures/noise.js';
import { openRaw, type RawRequest } from '../../../test/raw-http.js';
import {
  createUploadKit,
  multipartBody,
  multipartType,
  nothing,
  type UploadKit,
} from '../../../test/upload-kit.js';

let kit: UploadKit;
beforeAll(async () => {
  kit = await createUploadKit({ limits: { idleTimeoutMs: 300, minBytesPerSecond: 2_000 } });
});
afterAll(() => kit.close());

const body = multipartBody([{ filename: 'a.bin', content: noise(200_000) }]);

function begin(projectId: string, length: number | 'chunked' = body.length): Promise<RawRequest> {
  return openRaw(kit.port, [
    `POST /projects/${projectId}/upload HTTP/1.1`,
    'Host: test',
    `Content-Type: ${multipartType}`,
    length === 'chunked' ? 'Transfer-Encoding: chunked' : `Content-Length: ${length}`,
    'Connection: close',
  ]);
}

/** Resolves when the server has given up everything it had begun. */
async function quiet(): Promise<void> {
  await expect.poll(() => kit.uploads.activeUploads(), { timeout: 10_000, interval: 5 }).toBe(0);
}

/** Resolves when the server has begun to receive. */
async function begun(): Promise<void> {
  await expect.poll(() => kit.uploads.activeUploads(), { timeout: 10_000, interval: 1 }).toBeGreaterThan(0);
}

describe('a connection that is lost', () => {
  it.each([
    ['before the first byte', 0],
    ['after one byte', 1],
    ['inside the first 4 KiB', 3_000],
    ['in the middle', Math.floor(body.length / 2)],
    ['inside the closing boundary', body.length - 6],
    ['before the last byte', body.length - 1],
  ])('%s leaves nothing', async (_name, length) => {
    const project = await kit.project();
    const request = await begin(project);
    request.write(body.subarray(0, length));
    await begun();
    request.socket.resetAndDestroy();
    await quiet();
    expect(await kit.leftovers(project)).toEqual(nothing);
  });

  it('by an orderly end in the middle is answered with 400 and leaves nothing', async () => {
    const project = await kit.project();
    const request = await begin(project);
    request.write(body.subarray(0, 100_000));
    await begun();
    request.socket.end();
    expect((await request.answer()).status).toBe(400);
    await quiet();
    expect(await kit.leftovers(project)).toEqual(nothing);
  });

  it('in a chunked body leaves nothing', async () => {
    const project = await kit.project();
    const request = await begin(project, 'chunked');
    request.write(`${(50_000).toString(16)}\r\n`);
    request.write(body.subarray(0, 50_000));
    await begun();
    request.socket.resetAndDestroy();
    await quiet();
    expect(await kit.leftovers(project)).toEqual(nothing);
  });

  it('a hundred times leaves nothing, no descriptor either', async () => {
    const project = await kit.project();
    let accepted = 0;
    kit.app.server.on('connection', () => accepted++);
    const descriptors = readdirSync('/proc/self/fd').length;
    const cuts = Array.from({ length: 100 }, (_, index) => Math.floor((body.length * index) / 100));
    for (let at = 0; at < cuts.length; at += 25) {
      await Promise.all(
        cuts.slice(at, at + 25).map(async (length) => {
          const request = await begin(project);
          await new Promise<void>((resolve) => {
            request.socket.write(body.subarray(0, length), () => resolve());
          });
          request.socket.destroy();
          await request.answer();
        }),
      );
      // All of them have reached the server, and none is left.
      await expect.poll(() => accepted, { interval: 5 }).toBe(at + 25);
      await expect
        .poll(() => promisify(kit.app.server.getConnections.bind(kit.app.server))(), { interval: 5 })
        .toBe(0);
      await quiet();
    }
    expect(await kit.leftovers(project)).toEqual(nothing);
    // Database connections come and go; a hundred leaked files or sockets would not hide among them.
    expect(readdirSync('/proc/self/fd').length).toBeLessThan(descriptors + 20);
  });
});

describe('a Content-Length that lies', () => {
  it('saying more than is sent ends with 408', async () => {
    const project = await kit.project();
    const request = await begin(project, body.length + 10);
    request.write(body);
    const answer = await request.answer();
    expect(answer.status).toBe(408);
    expect(JSON.parse(answer.body)).toMatchObject({ code: 'request-timeout' });
    expect(await kit.leftovers(project)).toEqual(nothing);
  });

  it('saying less than is sent ends with 400', async () => {
    const project = await kit.project();
    const request = await begin(project, body.length - 10);
    request.write(body);
    const answer = await request.answer();
    expect(answer.status).toBe(400);
    await quiet();
    expect(await kit.leftovers(project)).toEqual(nothing);
  });

  it('twice is no HTTP', async () => {
    const project = await kit.project();
    const request = await openRaw(kit.port, [
      `POST /projects/${project}/upload HTTP/1.1`,
      'Host: test',
      `Content-Type: ${multipartType}`,
      `Content-Length: ${body.length}`,
      `Content-Length: ${body.length - 1}`,
    ]);
    request.write(body);
    const answer = await request.answer();
    expect(answer.status).toBe(400);
    expect(answer.headers).toMatch(/application\/problem\+json/);
    expect(await kit.leftovers(project)).toEqual(nothing);
  });
});

describe('a slow sender', () => {
  it('that stops ends with 408', async () => {
    const project = await kit.project();
    const request = await begin(project);
    request.write(body.subarray(0, 20_000));
    const answer = await request.answer();
    expect(answer.status).toBe(408);
    expect(answer.headers).toMatch(/connection: close/i);
    expect(await kit.leftovers(project)).toEqual(nothing);
  });

  it('that drips below the minimum rate ends with 408', async () => {
    const project = await kit.project();
    const request = await begin(project);
    request.write(body.subarray(0, 5_000));
    let at = 5_000;
    const drip = setInterval(() => request.write(body.subarray(at, ++at)), 20);
    const answer = await request.answer().finally(() => clearInterval(drip));
    expect(answer.status).toBe(408);
    expect(JSON.parse(answer.body)).toMatchObject({ detail: expect.stringContaining('2000 bytes a second') });
    expect(await kit.leftovers(project)).toEqual(nothing);
  });

  it('above the minimum rate may take longer than any single limit', async () => {
    const project = await kit.project();
    const request = await begin(project);
    // Fourteen pieces, 50 ms apart: more than twice the idle limit in all.
    const piece = Math.ceil(body.length / 14);
    for (let at = 0; at < body.length; at += piece) {
      request.write(body.subarray(at, at + piece));
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    expect((await request.answer()).status).toBe(201);
  });
});

describe('an answer that comes before the body has ended', () => {
  it('reaches a client that sends all of its body first', async () => {
    const project = await kit.project({ quota: { bytes: 10 } });
    // More than the kernel buffers between the two hold, so the client is still sending when the answer comes.
    const large = multipartBody([{ filename: 'a.bin', content: Buffer.alloc(30_000_000) }]);
    const request = await begin(project, large.length);
    const sent = new Promise<void>((resolve, reject) => {
      request.socket.on('error', reject);
      request.socket.write(large, () => resolve());
    });
    await sent;
    const answer = await request.answer();
    expect(answer.status).toBe(413);
    expect(JSON.parse(answer.body)).toMatchObject({ code: 'quota-exceeded', limit: 10 });
    expect(await kit.leftovers(project)).toEqual(nothing);
  });

  it('reaches somebody without a credential too', async () => {
    const project = await kit.project();
    const large = multipartBody([{ filename: 'a.bin', content: Buffer.alloc(30_000_000) }]);
    const request = await openRaw(kit.port, [
      `POST /projects/${project}/upload HTTP/1.1`,
      'Host: test',
      'X-Nobody: 1',
      `Content-Type: ${multipartType}`,
      `Content-Length: ${large.length}`,
    ]);
    const sent = new Promise<void>((resolve, reject) => {
      request.socket.on('error', reject);
      request.socket.write(large, () => resolve());
    });
    await sent;
    expect((await request.answer()).status).toBe(401);
  });
});
