import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

/** What came back over a socket that speaks HTTP by hand. */
export interface RawAnswer {
  /** 0 when nothing came before the connection ended. */
  readonly status: number;
  readonly headers: string;
  readonly body: string;
}

/** A request written by hand, for what no client would send. */
export interface RawRequest {
  readonly socket: Socket;
  write(bytes: Buffer | string): void;
  /** Resolves with the status of the answer as soon as it is there, and lets the connection go. */
  status(): Promise<number>;
  /** Waits for the end of the connection. */
  answer(): Promise<RawAnswer>;
}

export async function openRaw(port: number, head: readonly string[]): Promise<RawRequest> {
  const socket = connect({ port, host: '127.0.0.1' });
  const chunks: Buffer[] = [];
  let closed = false;
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  // Not events.once, which rejects when a reset comes first.
  const whenClosed = new Promise<void>((resolve) => {
    socket.on('close', () => {
      closed = true;
      resolve();
    });
  });
  // A reset is how some of these connections end.
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  socket.write(`${head.join('\r\n')}\r\n\r\n`);
  return {
    socket,
    write: (bytes) => void socket.write(bytes),
    async status() {
      while (chunks.length === 0 && !closed)
        await Promise.race([new Promise((resolve) => socket.once('data', resolve)), whenClosed]);
      socket.destroy();
      return statusOf(Buffer.concat(chunks).toString('latin1'));
    },
    async answer() {
      await whenClosed;
      const text = Buffer.concat(chunks).toString('latin1');
      const [headers = '', ...body] = text.split('\r\n\r\n');
      return {
        status: Number(/^HTTP\/1\.1 (\d{3})/.exec(headers)?.[1] ?? 0),
        headers,
        body: body.join('\r\n\r\n'),
      };
    },
  };
}

function statusOf(head: string): number {
  return Number(/^HTTP\/1\.1 (\d{3})/.exec(head)?.[1] ?? 0);
}
