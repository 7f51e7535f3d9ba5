import { once } from 'node:events';
import { Agent, createServer as createHttpServer, request as httpRequest } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** What happens to one call. */
export type Fault =
  /** The server never hears of it: the connection is reset. */
  | { readonly kind: 'reset' }
  /** The server never hears of it, and nobody answers. */
  | { readonly kind: 'hang' }
  /** The server hears of it when the promise resolves. */
  | { readonly kind: 'hold'; readonly until: Promise<void> }
  /** The server does what was asked; instead of its answer the connection is reset. */
  | { readonly kind: 'lose-answer' }
  /** HTTP only: the server never hears of it, and this is answered. */
  | {
      readonly kind: 'answer';
      readonly status: number;
      readonly headers?: Readonly<Record<string, string>>;
      readonly body?: string;
    };

/** Which calls fail. The counts are of calls that match. */
export interface FaultRule {
  /**
   * What a call looks like: over HTTP `PUT /bucket/key?query`, else the bytes of one chunk to the server as Latin-1,
   * such as a query of PostgreSQL. Every call when absent.
   */
  readonly match?: RegExp;
  /** The first call that fails, from 1. */
  readonly from?: number;
  /** From there every n-th one fails. */
  readonly every?: number;
  /** How many fail in all; one when absent. */
  readonly times?: number;
  readonly fault: Fault;
  /** Called just before the fault strikes; with `lose-answer`, once the server has done what was asked. */
  readonly onFault?: () => void;
}

/** Where a server listens: a TCP port, or the path of a unix socket. */
export type Target = { readonly host: string; readonly port: number } | { readonly path: string };

/**
 * A server in between that breaks things on purpose, in front of one that nobody here wrote. Signatures over the host
 * stay valid: clients sign the proxy's address, and the server checks the Host header that it is sent.
 */
export interface FaultProxy {
  /** 0 when it listens on a unix socket. */
  readonly port: number;
  /** `connections` and `calls` that came, and how many `faults` were injected: calls failed, connections cut. */
  readonly counts: { connections: number; calls: number; faults: number };
  /** Adds a rule; the first that matches counts. Returns what takes it away again. */
  fail(rule: FaultRule): () => void;
  /** An outage: every connection is reset and new ones are refused, until `accept`. */
  refuse(): Promise<void>;
  accept(): Promise<void>;
  /** No byte moves in either direction, and no connection ends, until `flow`. */
  hang(): void;
  /** Each connection moves so many bytes a second in each direction, until `flow`. */
  slow(bytesPerSecond: number): void;
  flow(): void;
  /** Resets every connection. */
  cut(): void;
  close(): Promise<void>;
}

export interface FaultProxyOptions {
  readonly target: Target;
  /** Path of the unix socket to listen on; a free port of loopback when absent. */
  readonly listen?: string;
  /** `http` lets rules see requests and answer them; `bytes` serves any protocol. */
  readonly speaks: 'http' | 'bytes';
}

const local = '127.0.0.1';

/** A fault that strikes one call. */
interface Strike {
  readonly fault: Fault;
  readonly tell: () => void;
}

export async function startFaultProxy({
  target,
  listen: path,
  speaks,
}: FaultProxyOptions): Promise<FaultProxy> {
  const counts = { connections: 0, calls: 0, faults: 0 };
  const rules = new Set<{ readonly rule: FaultRule; seen: number; done: number }>();
  const sockets = new Set<Socket>();
  let opened = Promise.resolve();
  let open: (() => void) | undefined;
  let rate = Infinity;

  const strikeAt = (call: string): Strike | undefined => {
    counts.calls += 1;
    for (const state of rules) {
      const { match, from = 1, every = 1, times = 1, fault, onFault = () => undefined } = state.rule;
      if (match && !match.test(call)) continue;
      state.seen += 1;
      if (state.seen < from || (state.seen - from) % every !== 0 || state.done >= times) continue;
      state.done += 1;
      counts.faults += 1;
      return { fault, tell: onFault };
    }
    return undefined;
  };
  const track = (socket: Socket): Socket => {
    sockets.add(socket);
    socket.setNoDelay(true);
    // How connections end here is nobody's error.
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
    return socket;
  };
  const cut = (): void => {
    if (sockets.size > 0) counts.faults += 1;
    for (const socket of sockets) reset(socket);
  };

  const web = speaks === 'http' ? await startForwarder(target, strikeAt) : undefined;
  const upstream = web ? { host: local, port: web.port } : target;
  const front = createServer({ allowHalfOpen: true }, (client) => {
    counts.connections += 1;
    track(client);
    const server = track(connect({ ...upstream, allowHalfOpen: true }));
    const resetBoth = (): void => {
      reset(client);
      reset(server);
    };
    client.on('close', () => server.destroy());
    // The forwarder and a killed server reset; that reaches the client as what it is.
    server.on('error', () => reset(client));
    server.on('close', () => client.destroySoon());
    let loss: Strike | undefined;
    const pump = async (from: Socket, to: Socket, upward: boolean): Promise<void> => {
      for await (const chunk of from as AsyncIterable<Buffer>) {
        await opened;
        if (upward && !web) {
          const strike = strikeAt(chunk.toString('latin1'));
          if (strike?.fault.kind === 'lose-answer') loss = strike;
          else strike?.tell();
          if (strike?.fault.kind === 'hang') return await once(from, 'close').then(() => undefined);
          if (strike?.fault.kind === 'hold') await strike.fault.until;
          else if (strike && strike !== loss) return resetBoth();
        } else if (loss) {
          loss.tell();
          return resetBoth();
        }
        if (rate < Infinity) await sleep((chunk.length / rate) * 1000);
        if (to.destroyed) return;
        if (!to.write(chunk)) await drained(to);
      }
      to.end();
    };
    // A connection that broke broke for both.
    pump(client, server, true).catch(() => server.destroy());
    pump(server, client, false).catch(() => client.destroy());
  });
  await listen(front, path ?? 0);
  const address = front.address();
  const port = typeof address === 'object' ? (address?.port ?? 0) : 0;

  const self: FaultProxy = {
    port,
    counts,
    fail(rule) {
      const state = { rule, seen: 0, done: 0 };
      rules.add(state);
      return () => void rules.delete(state);
    },
    async refuse() {
      const closed = once(front, 'close');
      front.close();
      cut();
      await closed;
    },
    accept: () => listen(front, path ?? port),
    hang() {
      if (open) return;
      counts.faults += 1;
      opened = new Promise((resolve) => (open = resolve));
    },
    slow(bytesPerSecond) {
      rate = bytesPerSecond;
    },
    flow() {
      open?.();
      open = undefined;
      rate = Infinity;
    },
    cut,
    async close() {
      self.flow();
      const closed = front.listening ? once(front, 'close') : undefined;
      front.close();
      for (const socket of sockets) socket.destroy();
      await closed;
      await web?.close();
    },
  };
  return self;
}

/** Unix sockets know no reset: there the other side reads an end. */
function reset(socket: Socket): void {
  if (socket.destroyed) return;
  if (socket.remoteFamily === undefined) socket.destroy();
  else socket.resetAndDestroy();
}

/** Until a socket takes more, or is closed; what was listened for is let go, so that long streams gather no listeners. */
async function drained(socket: Socket): Promise<void> {
  const over = new AbortController();
  const { signal } = over;
  try {
    await Promise.race([once(socket, 'drain', { signal }), once(socket, 'close', { signal })]);
  } finally {
    over.abort();
  }
}

async function listen(server: Server, where: number | string): Promise<void> {
  if (typeof where === 'string') server.listen(where);
  else server.listen(where, local);
  await once(server, 'listening');
}

/** Passes HTTP requests on one by one, unless their fault says otherwise. */
async function startForwarder(
  target: FaultProxyOptions['target'],
  strikeAt: (call: string) => Strike | undefined,
): Promise<{ readonly port: number; close(): Promise<void> }> {
  const agent = new Agent({ keepAlive: true });
  const onto = 'path' in target ? { socketPath: target.path } : target;
  const pass = (request: IncomingMessage, response: ServerResponse, loss: Strike | undefined): void => {
    const { method, url: path, rawHeaders: headers, socket } = request;
    const onward = httpRequest({ ...onto, method, path, headers, agent, setHost: false }, (answer) => {
      if (loss) {
        answer.resume();
        answer.on('end', () => {
          loss.tell();
          socket.resetAndDestroy();
        });
        return;
      }
      response.writeHead(answer.statusCode ?? 502, answer.statusMessage, answer.rawHeaders);
      answer.pipe(response);
      answer.on('error', () => socket.resetAndDestroy());
    });
    onward.on('error', () => socket.resetAndDestroy());
    response.on('close', () => {
      if (!response.writableFinished) onward.destroy();
    });
    request.pipe(onward);
  };
  const server = createHttpServer({ requestTimeout: 0, headersTimeout: 0 }, (request, response) => {
    const strike = strikeAt(`${request.method} ${request.url}`);
    request.on('error', () => undefined);
    if (strike === undefined) return pass(request, response, undefined);
    const { fault, tell } = strike;
    if (fault.kind === 'lose-answer') return pass(request, response, strike);
    tell();
    if (fault.kind === 'hold') return void fault.until.then(() => pass(request, response, undefined));
    if (fault.kind === 'reset') return void request.socket.resetAndDestroy();
    // A body that nobody reads would hold the answer back.
    request.resume();
    if (fault.kind === 'hang') return;
    request.on('end', () => {
      response.writeHead(fault.status, { 'content-type': 'application/xml', ...fault.headers });
      response.end(fault.body ?? '');
    });
  });
  await listen(server, 0);
  return {
    port: (server.address() as AddressInfo).port,
    async close() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
      agent.destroy();
    },
  };
}

/** What S3 servers answer when they have too much to do. */
export const slowDown: Fault = {
  kind: 'answer',
  status: 503,
  body: '<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>injected</Message></Error>',
};
