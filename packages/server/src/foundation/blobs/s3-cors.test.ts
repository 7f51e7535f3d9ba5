import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { StoreUnavailable, Unsupported } from './blob-store.js';
import { readCors, sameCors, wantedCors, writeCors } from './s3-cors.js';
import type { S3Access } from './s3-clients.js';

describe('the CORS rules of a bucket', () => {
  it('let the given pages upload, and any page follow a redirect', () => {
    const [uploads, reads, ...more] = wantedCors(['https://app.example.com']).CORSRules;
    expect(uploads).toMatchObject({
      AllowedOrigins: ['https://app.example.com'],
      AllowedMethods: ['GET', 'HEAD', 'PUT', 'POST', 'DELETE'],
    });
    expect(uploads?.ExposeHeaders).toContain('ETag');
    expect(reads).toMatchObject({ AllowedOrigins: ['*'], AllowedMethods: ['GET', 'HEAD'] });
    expect(more).toEqual([]);
    expect(wantedCors(['*', 'https://app.example.com']).CORSRules).toHaveLength(1);
  });

  it('are the same whatever their order, ids and case of header names', () => {
    const wanted = wantedCors(['https://a.example', 'https://b.example']);
    const [first, second] = wanted.CORSRules;
    const shuffled = {
      ...first!,
      ID: 'another',
      AllowedOrigins: ['https://b.example', 'https://a.example'],
      AllowedMethods: [...first!.AllowedMethods].reverse(),
      ExposeHeaders: first!.ExposeHeaders.map((name) => name.toLowerCase()),
    };
    expect(sameCors(wanted, { CORSRules: [second!, shuffled] })).toBe(true);
    expect(sameCors(wanted, { CORSRules: [second!] })).toBe(false);
    expect(sameCors(wanted, { CORSRules: [second!, { ...first!, AllowedMethods: ['GET'] }] })).toBe(false);
    expect(sameCors(wanted, wantedCors(['https://A.example', 'https://b.example']))).toBe(false);
  });
});

/** What servers answer; real ones are asked in the long suite. */
describe('a server that is asked for CORS rules', () => {
  let server: Server;
  let access: S3Access;
  let answer: (request: IncomingMessage, response: ServerResponse, body: string) => void;
  beforeEach(async () => {
    server = createServer((request, response) => {
      void text(request).then((body) => answer(request, response, body));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    access = {
      bucket: 'bucket',
      endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      region: 'us-east-1',
      forcePathStyle: true,
      credentials: { accessKeyId: 'key', secretAccessKey: 'secret' },
    };
  });
  afterEach(async () => {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  });

  const refuse = (status: number, code: string): void => {
    answer = (_request, response) => {
      response.writeHead(status, { 'content-type': 'application/xml' });
      response.end(`<?xml version="1.0"?><Error><Code>${code}</Code><Message>no</Message></Error>`);
    };
  };

  it('and has none yet says so', async () => {
    refuse(404, 'NoSuchCORSConfiguration');
    expect(await readCors(access)).toBeUndefined();
  });

  it('and has no such thing is told from one that is broken', async () => {
    refuse(501, 'NotImplemented');
    await expect(readCors(access)).rejects.toBeInstanceOf(Unsupported);
    await expect(writeCors(access, wantedCors([]))).rejects.toBeInstanceOf(Unsupported);
    refuse(404, 'NoSuchBucket');
    await expect(readCors(access)).rejects.toThrow('the bucket does not exist');
    refuse(403, 'AccessDenied');
    await expect(writeCors(access, wantedCors([]))).rejects.toBeInstanceOf(StoreUnavailable);
  });

  it('keeps them whole, and is asked for nothing else', async () => {
    const seen: string[] = [];
    let kept = '';
    answer = (request, response, body) => {
      seen.push(`${request.method} ${request.url}`);
      if (request.method === 'PUT') kept = body;
      response.end(request.method === 'PUT' ? undefined : kept);
    };
    const wanted = wantedCors(['https://app.example.com']);
    await writeCors(access, wanted);
    expect(await readCors(access)).toEqual(wanted);
    expect(seen).toEqual(['PUT /bucket/?cors=', 'GET /bucket/?cors=']);
  });
});
