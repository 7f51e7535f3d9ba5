import { once } from 'node:events';
import { createServer as createHttpServer, type Server } from 'node:http';
import { connect, createServer, type AddressInfo, type Server as NetServer } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { slowDown, startFaultProxy, type FaultProxy } from './fault-proxy.js';

describe('the fault proxy before an HTTP server', () => {
  let server: Server;
  let heard: string[];
  let proxy: FaultProxy;
  beforeEach(async () => {
    heard = [];
    server = createHttpServer((request, response) => {
      void buffer(request).then((body) => {
        heard.push(`${request.method} ${request.url} ${request.headers.host} ${body.length}`);
        response.writeHead(200, { 'x-echo': 'yes' }).end(body);
      });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    proxy = await startFaultProxy({ target: { host: '127.0.0.1', port }, speaks: 'http' });
  });
  afterEach(async () => {
    await proxy.close();
    server.closeAllConnections();
    server.close();
  });

  const send = async (path: string, body: string): Promise<string> => {
    try {
      const url = `http://127.0.0.1:${proxy.port}${path}`;
      const answer = await fetch(url, { method: 'PUT', body, signal: AbortSignal.timeout(2_000) });
      return `${answer.status} ${await answer.text()}`;
    } catch (error) {
      return (error as Error).name;
    }
  };

  it('passes on what it is not told to break', async () => {
    const large = 'x'.repeat(3_000_000);
    expect(await send('/a?b=%2F', large)).toBe(`200 ${large}`);
    expect(heard).toEqual([`PUT /a?b=%2F 127.0.0.1:${proxy.port} 3000000`]);
    expect(proxy.counts).toEqual({ connections: 1, calls: 1, faults: 0 });
  });

  it('fails the n-th call, before the server or after it', async () => {
    proxy.fail({ match: /^PUT \/a/, from: 2, fault: { kind: 'reset' } });
    const remove = proxy.fail({ match: /^PUT \/b/, every: 2, times: 2, fault: slowDown });
    proxy.fail({ match: /^PUT \/c/, fault: { kind: 'lose-answer' } });
    expect(await send('/a', '1')).toBe('200 1');
    expect(await send('/a', '2')).toBe('TypeError');
    expect(await send('/a', '3')).toBe('200 3');
    expect(await send('/b', '1')).toMatch(/^503 .*SlowDown/);
    expect(await send('/b', '2')).toBe('200 2');
    remove();
    expect(await send('/b', '3')).toBe('200 3');
    expect(heard).toHaveLength(4);
    expect(await send('/c', '1')).toBe('TypeError');
    expect(heard).toHaveLength(5);
    expect(proxy.counts.faults).toBe(3);
  });

  it('is away, and back on the same port', async () => {
    expect(await send('/', '1')).toBe('200 1');
    await proxy.refuse();
    expect(await send('/', '2')).toBe('TypeError');
    await proxy.accept();
    expect(await send('/', '3')).toBe('200 3');
    expect(heard).toHaveLength(2);
  });

  it('hangs, one call or all, and flows again', async () => {
    proxy.fail({ fault: { kind: 'hang' } });
    expect(await send('/', '1')).toBe('TimeoutError');
    expect(heard).toEqual([]);
    proxy.hang();
    const late = send('/', '2');
    await expect.poll(() => proxy.counts.connections).toBeGreaterThan(1);
    expect(heard).toEqual([]);
    proxy.flow();
    expect(await late).toBe('200 2');
  });
});

describe('the fault proxy before any server', () => {
  let server: NetServer;
  let heard: string;
  let proxy: FaultProxy;
  beforeEach(async () => {
    heard = '';
    server = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.on('data', (chunk: Buffer) => {
        heard += chunk.toString();
        socket.write(`done ${chunk.toString()}`);
      });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    proxy = await startFaultProxy({ target: { host: '127.0.0.1', port }, speaks: 'bytes' });
  });
  afterEach(async () => {
    await proxy.close();
    server.close();
  });

  const say = async (word: string): Promise<string> => {
    const socket = connect(proxy.port, '127.0.0.1');
    try {
      await once(socket, 'connect');
      socket.write(word);
      const [answer] = (await once(socket, 'data')) as [Buffer];
      return answer.toString();
    } catch (error) {
      return (error as NodeJS.ErrnoException).code ?? '';
    } finally {
      socket.destroy();
    }
  };

  it('cuts the connection after the server has done what it was asked', async () => {
    proxy.fail({ match: /COMMIT/, fault: { kind: 'lose-answer' } });
    expect(await say('BEGIN')).toBe('done BEGIN');
    expect(await say('COMMIT')).toBe('ECONNRESET');
    expect(heard).toBe('BEGINCOMMIT');
    proxy.fail({ match: /COMMIT/, fault: { kind: 'reset' } });
    expect(await say('COMMIT')).toBe('ECONNRESET');
    expect(heard).toBe('BEGINCOMMIT');
  });

  it('is slow', async () => {
    proxy.slow(100);
    const begun = performance.now();
    expect(await say('x'.repeat(20))).toMatch(/^done x/);
    expect(performance.now() - begun).toBeGreaterThan(350);
  });
});
