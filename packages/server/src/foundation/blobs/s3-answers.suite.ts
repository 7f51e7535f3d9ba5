import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';

/** What a server that misbehaves answers; real servers run the contract in the long suite. */
export type Answer = (request: IncomingMessage, response: ServerResponse, body: Buffer) => void;

/** A server that answers as it is told to. */
export interface AnsweringServer {
  /** `http://127.0.0.1:port`. */
  readonly origin: string;
  /** Method and path of every request so far. */
  readonly requests: string[];
  answer: Answer;
  close(): Promise<void>;
}

export async function serveAnswers(): Promise<AnsweringServer> {
  const server = createServer((request, response) => {
    self.requests.push(`${request.method} ${request.url}`);
    void buffer(request).then(
      (body) => self.answer(request, response, body),
      () => response.destroy(),
    );
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const self: AnsweringServer = {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests: [],
    answer: (_request, response) => refuse(response, 501, 'NotImplemented'),
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
  return self;
}

/** Refuses as S3 servers do. */
export function refuse(response: ServerResponse, status: number, code: string): void {
  response.writeHead(status, { 'content-type': 'application/xml' });
  response.end(`<?xml version="1.0"?><Error><Code>${code}</Code><Message>no</Message></Error>`);
}
