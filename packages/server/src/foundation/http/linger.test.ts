import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

import { afterEach, describe, expect, it } from 'vitest';

import { openRaw } from '../../../test/raw-http.js';
import { lingeringAnswer } from './linger.js';

let server: Server;
afterEach(async () => {
  server.close();
  await once(server, 'close');
});

/** A server that answers 413 before it has read anything. */
async function refuseAll(limits: { idleMs: number; totalMs: number }): Promise<number> {
  server = createServer((request, response) => {
    const answer = Buffer.from('too large');
    response.writeHead(413, { connection: 'close', 'content-length': answer.length });
    lingeringAnswer(request, answer, limits).pipe(response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

const head = ['POST / HTTP/1.1', 'Host: test', 'Content-Length: 20000000'];

describe('an answer that lingers', () => {
  it('is sent at once, and the rest of the body thrown away', async () => {
    const port = await refuseAll({ idleMs: 5_000, totalMs: 10_000 });
    const request = await openRaw(port, head);
    await once(request.socket, 'data');
    request.write(Buffer.alloc(20_000_000));
    expect(await request.answer()).toMatchObject({ status: 413, body: 'too large' });
  });

  it('ends the connection when the client sends nothing more', async () => {
    const port = await refuseAll({ idleMs: 50, totalMs: 60_000 });
    const request = await openRaw(port, head);
    expect(await request.answer()).toMatchObject({ status: 413, body: 'too large' });
  });

  it('ends the connection when the client never stops', async () => {
    const port = await refuseAll({ idleMs: 60_000, totalMs: 100 });
    const request = await openRaw(port, head);
    const drip = setInterval(() => request.write('x'), 10);
    expect(await request.answer().finally(() => clearInterval(drip))).toMatchObject({ status: 413 });
  });

  it('ends when the client goes away', async () => {
    const port = await refuseAll({ idleMs: 60_000, totalMs: 60_000 });
    const request = await openRaw(port, head);
    await once(request.socket, 'data');
    request.socket.destroy();
    // afterEach waits for the server's last connection.
    expect((await request.answer()).status).toBe(413);
  });
});
