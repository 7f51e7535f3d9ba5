import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';

/** A server that says what its test wants, byte by byte. */
export interface OddSource {
  readonly port: number;
  /** Heads of the requests that have come, in their order. */
  readonly requests: readonly string[];
  /** Connections that are open now. */
  connections(): number;
  close(): Promise<void>;
}

/**
 * Listens on 127.0.0.1 and hands every request, once its head is there, to `answer` together with its socket.
 * The socket is destroyed when the source closes, not when `answer` returns.
 */
export async function startOddSource(
  answer: (socket: Socket, head: string, number: number) => unknown,
): Promise<OddSource> {
  const requests: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    // Clients leave in the middle here.
    socket.on('error', () => undefined);
    let head = '';
    socket.on('data', (chunk) => {
      head += chunk.toString('latin1');
      if (!head.includes('\r\n\r\n')) return;
      requests.push(head);
      const whole = head;
      head = '';
      void answer(socket, whole, requests.length);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    requests,
    connections: () => sockets.size,
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

/** The text of an answer whose header fields are these lines. */
export function answerOf(status: number, fields: readonly string[], body = ''): string {
  return `HTTP/1.1 ${status} Status\r\n${fields.map((field) => `${field}\r\n`).join('')}\r\n${body}`;
}

/** An answer 200 with its length. */
export function wholeAnswer(body: string, fields: readonly string[] = []): string {
  return answerOf(200, [`Content-Length: ${Buffer.byteLength(body)}`, ...fields], body);
}
