import { once } from 'node:events';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';

import { afterEach, describe, expect, it, vi } from 'vitest';

import { testCertificate } from '../../../../test/fixtures/certificate.js';
import { answerOf, startOddSource, wholeAnswer, type OddSource } from '../../../../test/odd-source.js';
import type { Lookup } from './connector.js';
import { OutboundFailed, OutboundRefused } from './failures.js';
import { createOutbound, type Outbound, type OutboundOptions } from './outbound.js';

const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (let close = closers.pop(); close; close = closers.pop()) await close();
});

async function sourceOf(answer: Parameters<typeof startOddSource>[0]): Promise<OddSource> {
  const source = await startOddSource(answer);
  closers.push(() => source.close());
  return source;
}

const always = (text: string) => (socket: Socket) => void socket.write(text);
const everyPort = Array.from({ length: 65_536 }, (_, port) => String(port));
const never = new AbortController().signal;

function outboundTo(options: Partial<OutboundOptions> = {}): Outbound {
  return createOutbound({
    ports: everyPort,
    allow: ['127.0.0.1'],
    userAgent: 'Test/1',
    pace: { idleTimeoutMs: 2_000, minBytesPerSecond: 0 },
    answerTimeoutMs: 2_000,
    ...options,
  });
}

/** Names with fixed addresses. */
function names(table: Readonly<Record<string, readonly string[]>>): Lookup {
  return async (name) => {
    const addresses = table[name];
    if (!addresses) throw Object.assign(new Error('no such name'), { code: 'ENOTFOUND' });
    return addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));
  };
}

async function read(outbound: Outbound, url: string, signal: AbortSignal = never) {
  const download = await outbound.download(new URL(url), signal);
  try {
    const chunks: Buffer[] = [];
    for await (const chunk of download.body) chunks.push(chunk);
    return { text: Buffer.concat(chunks).toString(), download };
  } finally {
    await download.close();
  }
}

async function failure(work: Promise<unknown>): Promise<OutboundFailed | OutboundRefused> {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (error instanceof OutboundFailed || error instanceof OutboundRefused) return error;
  throw new Error('expected a failure', { cause: error });
}

const notPublic = 'The host of the URL is unknown or has an address that is not public.';

describe('a download', () => {
  it('brings the bytes, and tells nothing of us but who asks', async () => {
    vi.stubEnv('HTTP_PROXY', 'http://127.0.0.1:1');
    vi.stubEnv('http_proxy', 'http://127.0.0.1:1');
    const source = await sourceOf(
      always(wholeAnswer('hello', ['Content-Type: text/plain', 'Set-Cookie: a=b'])),
    );
    const { text, download } = await read(outboundTo(), `http://127.0.0.1:${source.port}/a%20b?c=d#e`);
    vi.unstubAllEnvs();
    expect(text).toBe('hello');
    expect(download.length).toBe(5);
    expect(download.header('content-type')).toBe('text/plain');
    expect(source.requests[0]?.toLowerCase().split('\r\n').filter(Boolean).sort()).toEqual([
      'accept-encoding: identity',
      'accept: */*',
      'connection: close',
      'get /a%20b?c=d http/1.1',
      `host: 127.0.0.1:${source.port}`,
      'user-agent: test/1',
    ]);
  });

  it('of chunks or up to the end of the connection has no length beforehand', async () => {
    const chunked = await sourceOf(
      always(answerOf(200, ['Transfer-Encoding: chunked'], '3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n')),
    );
    const open = await sourceOf((socket) => socket.end(answerOf(200, [], 'abcde')));
    for (const { port } of [chunked, open]) {
      const { text, download } = await read(outboundTo(), `http://127.0.0.1:${port}/`);
      expect([text, download.length]).toEqual(['abcde', undefined]);
    }
  });

  it('is read at the speed of its reader', async () => {
    let sent = 0;
    const source = await sourceOf((socket) => {
      const block = Buffer.alloc(64 * 1024);
      socket.write(answerOf(200, [`Content-Length: ${64 * 1024 * 1024}`]));
      const send = (): void => {
        while (sent < 64 * 1024 * 1024 && !socket.destroyed) {
          sent += block.length;
          if (!socket.write(block)) return void socket.once('drain', send);
        }
      };
      send();
    });
    const download = await outboundTo().download(new URL(`http://127.0.0.1:${source.port}/`), never);
    await download.body.next();
    let before = -1;
    // The buffers of the kernel fill up, and then it stands still.
    await vi.waitUntil(
      () => {
        const still = sent === before;
        before = sent;
        return still;
      },
      { interval: 200, timeout: 5_000 },
    );
    expect(sent).toBeLessThan(32 * 1024 * 1024);
    await download.close();
    await vi.waitFor(() => expect(source.connections()).toBe(0));
  });

  it('leaves no connection behind, however it ends', async () => {
    const source = await sourceOf((socket, _head, number) => {
      if (number === 1) socket.write(wholeAnswer('hello'));
      else if (number === 2) socket.write(answerOf(404, ['Content-Length: 100000'], 'no'));
      else if (number === 3)
        socket.write(answerOf(302, ['Location: ftp://a.test/', 'Content-Length: 100000']));
      else socket.write(answerOf(200, ['Content-Length: 100000'], 'some'));
    });
    const url = `http://127.0.0.1:${source.port}/`;
    await read(outboundTo(), url);
    await failure(read(outboundTo(), url));
    await failure(read(outboundTo(), url));
    const aborting = new AbortController();
    const download = await outboundTo().download(new URL(url), aborting.signal);
    await download.body.next();
    const rest = download.body.next();
    aborting.abort(new Error('enough'));
    await expect(rest).rejects.toThrow('enough');
    await download.close();
    await vi.waitFor(() => expect(source.connections()).toBe(0));
  });

  it('that is aborted before it is answered rejects with the reason', async () => {
    const source = await sourceOf(() => undefined);
    const aborting = new AbortController();
    const asked = outboundTo().download(new URL(`http://127.0.0.1:${source.port}/`), aborting.signal);
    await vi.waitFor(() => expect(source.requests).toHaveLength(1));
    aborting.abort(new Error('enough'));
    await expect(asked).rejects.toThrow('enough');
  });
});

describe('redirects', () => {
  it.each([301, 302, 303, 307, 308])('%i is followed, relative ones too', async (status) => {
    const source = await sourceOf((socket, head) => {
      if (head.startsWith('GET /a/b '))
        socket.write(answerOf(status, ['Location: ../c', 'Content-Length: 0']));
      else socket.write(wholeAnswer('there'));
    });
    const { text, download } = await read(outboundTo(), `http://127.0.0.1:${source.port}/a/b`);
    expect([text, download.url.pathname]).toEqual(['there', '/c']);
    expect(source.requests[1]).not.toMatch(/referer|cookie/i);
  });

  it('in UTF-8 are understood', async () => {
    const source = await sourceOf((socket, head) => {
      if (head.startsWith('GET / ')) socket.write(answerOf(302, ['Location: /grün', 'Content-Length: 0']));
      else socket.write(wholeAnswer('there'));
    });
    await read(outboundTo(), `http://127.0.0.1:${source.port}/`);
    expect(source.requests[1]).toMatch(/^GET \/gr%C3%BCn /);
  });

  it('end after the fifth', async () => {
    let most = 5;
    const source = await sourceOf((socket, head, number) =>
      socket.write(
        number > most ? wholeAnswer('there') : answerOf(302, [`Location: /${number}`, 'Content-Length: 0']),
      ),
    );
    const url = `http://127.0.0.1:${source.port}/`;
    expect((await read(outboundTo(), url)).text).toBe('there');
    most = Infinity;
    const before = source.requests.length;
    expect(await failure(read(outboundTo(), url))).toMatchObject({
      passing: false,
      message: /more than 5 times/,
    });
    expect(source.requests.length - before).toBe(6);
  });

  it.each([
    ['to a private literal', 'http://10.0.0.1/', notPublic],
    ['to the metadata service', 'http://169.254.169.254/latest/meta-data/', notPublic],
    ['to an odd spelling', 'http://0xa000001/', notPublic],
    ['to mapped IPv6', 'http://[::ffff:10.0.0.1]/', notPublic],
    ['to NAT64', 'http://[64:ff9b::10.0.0.1]/', notPublic],
    ['to a name that is private', 'http://inner.test/', notPublic],
    ['to a name that is not there', 'http://nowhere.test/', notPublic],
    ['to another scheme', 'file:///etc/passwd', 'The URL is neither http nor https.'],
    ['to a URL with a password', 'http://a:b@c.test/', 'The URL holds a user name or a password.'],
    ['to another port', 'http://c.test:22/', 'The URL names a port that is not allowed.'],
  ])('%s are refused', async (_name, location, message) => {
    const source = await sourceOf(always(answerOf(302, [`Location: ${location}`, 'Content-Length: 0'])));
    const outbound = outboundTo({
      ports: [String(source.port), '80'],
      lookup: names({ 'inner.test': ['10.0.0.1'] }),
    });
    const error = await failure(read(outbound, `http://127.0.0.1:${source.port}/`));
    expect(error).toBeInstanceOf(OutboundRefused);
    expect(error.message).toBe(message);
  });

  it('to what is no URL fail', async () => {
    const source = await sourceOf(
      always(answerOf(302, ['Location: http://[::1%25lo]/', 'Content-Length: 0'])),
    );
    const error = await failure(read(outboundTo(), `http://127.0.0.1:${source.port}/`));
    expect(error).toMatchObject({
      passing: false,
      message: 'The source redirects to something that is no URL.',
    });
  });

  it('from https to http are refused, and https is verified', async () => {
    const plain = await sourceOf(always(wholeAnswer('plain')));
    const secure = createSecureServer(testCertificate, (request, response) => {
      if (request.url === '/down') {
        response.writeHead(302, { location: `http://127.0.0.1:${plain.port}/` }).end();
      } else response.end('secret');
    });
    secure.listen(0, '127.0.0.1');
    await once(secure, 'listening');
    closers.push(async () => secure.close());
    const { port } = secure.address() as AddressInfo;
    const lookup = names({ 'source.test': ['127.0.0.1'], 'other.test': ['127.0.0.1'] });
    const trusting = outboundTo({ lookup, ca: testCertificate.cert });
    expect((await read(trusting, `https://source.test:${port}/`)).text).toBe('secret');
    expect(await failure(read(trusting, `https://source.test:${port}/down`))).toMatchObject({
      message: 'The source redirects from https to http.',
    });
    expect(plain.requests).toHaveLength(0);
    const message = 'The certificate of the source is not valid.';
    for (const asked of [
      read(trusting, `https://other.test:${port}/`),
      read(outboundTo({ lookup }), `https://source.test:${port}/`),
    ]) {
      expect(await failure(asked)).toMatchObject({ passing: false, message });
    }
  });
});

describe('names', () => {
  it.each<[string, readonly string[]]>([
    ['a private address', ['10.0.0.1']],
    ['a public and a private address', ['93.184.216.34', '10.0.0.1']],
    ['a private IPv6 address beside a public one', ['93.184.216.34', 'fd00::1']],
    ['the loopback in IPv6', ['::1']],
    ['a mapped address', ['::ffff:10.0.0.1']],
    ['a NAT64 address of an inner one', ['64:ff9b::a00:1']],
    ['a link-local address with a zone', ['fe80::1%lo']],
    ['no address at all', []],
  ])('with %s are refused before anything is connected', async (_name, addresses) => {
    const source = await sourceOf(always(wholeAnswer('inner')));
    const outbound = outboundTo({ allow: [], lookup: names({ 'source.test': addresses }) });
    const error = await failure(read(outbound, `http://source.test:${source.port}/`));
    expect(error).toBeInstanceOf(OutboundRefused);
    expect(error.message).toBe(notPublic);
  });

  it('are looked up once for a connection: a second answer has nothing to change', async () => {
    const source = await sourceOf(always(wholeAnswer('there')));
    const answers = [['127.0.0.1'], ['10.0.0.1']];
    const lookup = vi.fn<Lookup>(async () =>
      (answers.shift() ?? []).map((address) => ({ address, family: 4 })),
    );
    const outbound = outboundTo({ lookup });
    expect((await read(outbound, `http://source.test:${source.port}/`)).text).toBe('there');
    expect(lookup).toHaveBeenCalledTimes(1);
    expect(source.requests[0]).toContain(`Host: source.test:${source.port}`.toLowerCase());
    // Every hop asks anew, and is judged anew.
    expect((await failure(read(outbound, `http://source.test:${source.port}/`))).message).toBe(notPublic);
  });

  it('that cannot be looked up now may be tried again', async () => {
    const lookup: Lookup = async () => {
      throw Object.assign(new Error('try again'), { code: 'EAI_AGAIN' });
    };
    expect(await failure(read(outboundTo({ lookup }), 'http://source.test/'))).toMatchObject({
      passing: true,
      message: 'The host of the URL could not be looked up.',
    });
  });

  it('that are never answered end with the patience', async () => {
    const lookup: Lookup = () => new Promise(() => undefined);
    const outbound = outboundTo({ lookup, answerTimeoutMs: 200 });
    expect(await failure(read(outbound, 'http://source.test/'))).toMatchObject({ passing: true });
  });

  it('of this machine are refused by the system’s own look-up', async () => {
    const source = await sourceOf(always(wholeAnswer('inner')));
    const outbound = outboundTo({ allow: [] });
    expect((await failure(read(outbound, `http://localhost:${source.port}/`))).message).toBe(notPublic);
    expect(source.requests).toHaveLength(0);
    const listed = outboundTo({ allow: ['localhost'] });
    expect((await read(listed, `http://localhost:${source.port}/`)).text).toBe('inner');
  });
});

describe('answers', () => {
  it.each<[number, boolean]>([
    [201, false],
    [204, false],
    [206, false],
    [300, false],
    [302, false],
    [304, false],
    [400, false],
    [401, false],
    [403, false],
    [404, false],
    [410, false],
    [416, false],
    [408, true],
    [429, true],
    [500, true],
    [502, true],
    [503, true],
  ])('with status %i fail; trying again may help: %s', async (status, passing) => {
    const banner = 'SSH-2.0-secret-banner';
    const source = await sourceOf((socket) => {
      socket.write(
        status === 204 || status === 304
          ? answerOf(status, [])
          : answerOf(status, [`Content-Length: ${banner.length}`, `X-Inner: ${banner}`], banner),
      );
    });
    const error = await failure(read(outboundTo(), `http://127.0.0.1:${source.port}/`));
    expect(error).toMatchObject({ passing, message: `The source answered with status ${status}.` });
  });

  it.each([
    ['Content-Encoding: gzip'],
    ['Content-Encoding: identity, br'],
    ['Transfer-Encoding: gzip, chunked'],
  ])('with %s are refused', async (field) => {
    const source = await sourceOf(always(answerOf(200, [field], '0\r\n\r\n')));
    const error = await failure(read(outboundTo(), `http://127.0.0.1:${source.port}/`));
    expect(error).toMatchObject({ passing: false, message: /a coding/ });
  });

  it.each<[string, (socket: Socket) => unknown]>([
    ['are no HTTP', (socket) => socket.end('SSH-2.0-OpenSSH_9.2\r\n')],
    ['are nothing', (socket) => socket.end()],
    ['are a reset', (socket) => socket.resetAndDestroy()],
    [
      'promise two lengths',
      (socket) => socket.write(answerOf(200, ['Content-Length: 1', 'Content-Length: 2'], 'ab')),
    ],
  ])('that %s are failures of the connection', async (_name, answer) => {
    const source = await sourceOf(answer);
    const error = await failure(read(outboundTo(), `http://127.0.0.1:${source.port}/`));
    expect(error).toMatchObject({ passing: true, message: 'The connection to the source failed.' });
  });

  it('that nobody gives are failures of the connection', async () => {
    const source = await startOddSource(() => undefined);
    await source.close();
    const error = await failure(read(outboundTo(), `http://127.0.0.1:${source.port}/`));
    expect(error).toMatchObject({ passing: true, message: 'The connection to the source failed.' });
  });

  /** Sends text again and again until the client is gone. */
  const endless = (start: string, piece: string, pauseMs: number) => (socket: Socket) => {
    socket.write(start);
    const timer = setInterval(() => socket.write(piece), pauseMs);
    socket.on('close', () => clearInterval(timer));
  };

  it.each<[string, (socket: Socket) => unknown, string]>([
    ['do not come', () => undefined, 'The source did not answer within'],
    [
      'have a header that drips',
      endless('HTTP/1.1 200 OK\r\n', 'X-A: b\r\n', 20),
      'The source did not answer within',
    ],
    [
      'are always intermediate',
      endless('', 'HTTP/1.1 103 Early Hints\r\n\r\n', 20),
      'The source did not answer within',
    ],
    [
      'have an endless header',
      endless('HTTP/1.1 200 OK\r\n', `X-A: ${'b'.repeat(4000)}\r\n`, 1),
      'The header of the answer is too long.',
    ],
  ])('that %s end', async (_name, answer, words) => {
    const source = await sourceOf(answer);
    const outbound = outboundTo({ answerTimeoutMs: 500 });
    const error = await failure(read(outbound, `http://127.0.0.1:${source.port}/`));
    expect(error.message).toContain(words);
    await vi.waitFor(() => expect(source.connections()).toBe(0));
  });

  it.each<[string, (socket: Socket) => unknown, string]>([
    ['are cut', (socket) => socket.end(answerOf(200, ['Content-Length: 100'], 'abc')), 'broke'],
    [
      'are cut in a chunk',
      (socket) => socket.end(answerOf(200, ['Transfer-Encoding: chunked'], '5\r\nab')),
      'broke',
    ],
    [
      'are reset',
      (socket) =>
        void socket.write(answerOf(200, ['Content-Length: 9'], 'abc'), () =>
          setTimeout(() => socket.resetAndDestroy(), 50),
        ),
      'broke',
    ],
    [
      'have broken chunks',
      (socket) => socket.write(answerOf(200, ['Transfer-Encoding: chunked'], '2\r\nab\r\nxyz')),
      'broke',
    ],
    ['stop', (socket) => socket.write(answerOf(200, ['Content-Length: 100'], 'abc')), 'too slowly'],
    ['drip', endless(answerOf(200, ['Content-Length: 100000']), 'a', 20), 'too slowly'],
  ])('whose bytes %s may be tried again', async (_name, answer, words) => {
    const source = await sourceOf(answer);
    const outbound = outboundTo({ pace: { idleTimeoutMs: 300, minBytesPerSecond: 1000 } });
    const error = await failure(read(outbound, `http://127.0.0.1:${source.port}/`));
    expect(error).toMatchObject({ passing: true });
    expect(error.message).toContain(words);
    await vi.waitFor(() => expect(source.connections()).toBe(0));
  });

  it('with more bytes than promised end with the promise', async () => {
    const source = await sourceOf(always(answerOf(200, ['Content-Length: 3'], 'abcdef')));
    expect((await read(outboundTo(), `http://127.0.0.1:${source.port}/`)).text).toBe('abc');
  });
});
