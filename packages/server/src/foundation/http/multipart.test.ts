import { describe, expect, it } from 'vitest';

import { Problem } from '../problems.js';
import { boundaryOf, framingAfter, readParts } from './multipart.js';

/** Hands a body out in chunks of `size` bytes. */
async function* inChunks(body: Buffer, size: number): AsyncGenerator<Buffer, void, undefined> {
  for (let at = 0; at < body.length; at += size) yield body.subarray(at, at + size);
}

interface ReadPart {
  name: string;
  filename: string | undefined;
  contentType: string | undefined;
  offset: number;
  content: string;
}

async function read(body: string | Buffer, chunkSize = 64 * 1024, boundary = 'b'): Promise<ReadPart[]> {
  const parts: ReadPart[] = [];
  for await (const part of readParts(inChunks(Buffer.from(body), chunkSize), boundary)) {
    const { name, filename, contentType, offset } = part;
    const chunks: Buffer[] = [];
    for await (const chunk of part.body) chunks.push(chunk);
    parts.push({ name, filename, contentType, offset, content: Buffer.concat(chunks).toString('latin1') });
  }
  return parts;
}

async function refusal(body: string | Buffer, chunkSize?: number): Promise<string> {
  try {
    const parts = await read(body, chunkSize);
    return `accepted ${parts.length}`;
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    expect(error.code).toBe('malformed-body');
    return error.message;
  }
}

function part(header: string, content: string): string {
  return `--b\r\n${header}\r\n\r\n${content}\r\n`;
}
const file = 'Content-Disposition: form-data; name="f"; filename="a.txt"';

describe('the boundary', () => {
  it.each([
    ['multipart/form-data; boundary=abc', 'abc'],
    ['multipart/form-data; boundary="a b:c"', 'a b:c'],
    ['multipart/form-data; charset=utf-8; BOUNDARY=x', 'x'],
  ])('is read from %s', (type, boundary) => {
    expect(boundaryOf(type)).toBe(boundary);
  });

  it.each([
    'multipart/form-data',
    'multipart/form-data; boundary=',
    'multipart/form-data; boundary=""',
    `multipart/form-data; boundary=${'x'.repeat(71)}`,
    'multipart/form-data; boundary="a\u0000b"',
    'multipart/form-data; boundary="ends with space "',
  ])('is missing in %s', (type) => {
    expect(() => boundaryOf(type)).toThrow(Problem);
  });
});

describe('a multipart body', () => {
  const body =
    part(file, 'first') +
    part('Content-Disposition: form-data; name="note"', 'two\r\n--not-it') +
    part(`${file}\r\nContent-Type: text/plain`, '\r\n--\r\n-\r') +
    '--b--\r\n';

  it('is the same however it is cut into chunks', async () => {
    const whole = await read(body);
    expect(whole.map(({ content }) => content)).toEqual(['first', 'two\r\n--not-it', '\r\n--\r\n-\r']);
    expect(whole.map(({ filename }) => filename)).toEqual(['a.txt', undefined, 'a.txt']);
    expect(whole[2]?.contentType).toBe('text/plain');
    for (let size = 1; size <= body.length; size++) expect(await read(body, size)).toEqual(whole);
  });

  it('tells where each content begins and what follows the last', async () => {
    const parts = await read(body);
    for (const { offset, content } of parts) {
      expect(body.slice(offset, offset + content.length)).toBe(content);
    }
    const last = parts.at(-1);
    expect((last?.offset ?? 0) + (last?.content.length ?? 0) + framingAfter('b')).toBe(body.length);
  });

  it('may have no parts, a preamble, an epilogue and spaces after a boundary', async () => {
    expect(await read('--b--\r\n')).toEqual([]);
    expect(await read('--b--')).toEqual([]);
    expect(await read(`hello\r\n--b \t\r\n${file}\r\n\r\nx\r\n--b--\r\nbye`)).toHaveLength(1);
  });

  it('may hold empty contents', async () => {
    const parts = await read(part(file, '') + part(file, '') + '--b--');
    expect(parts.map(({ content }) => content)).toEqual(['', '']);
  });

  it('goes on with the next part when a content is left unread', async () => {
    const names: (string | undefined)[] = [];
    for await (const one of readParts(inChunks(Buffer.from(body), 3), 'b')) {
      names.push(one.filename);
      if (names.length === 1) {
        // Stops in the middle of the content.
        for await (const chunk of one.body) {
          expect(chunk.length).toBeGreaterThan(0);
          break;
        }
      }
    }
    expect(names).toEqual(['a.txt', undefined, 'a.txt']);
  });

  it('is refused wherever it is cut', async () => {
    const closing = body.indexOf('--b--');
    for (let length = 0; length < closing + 5; length++) {
      expect(await refusal(body.slice(0, length), 7)).toMatch(/without its closing boundary/);
    }
  });

  it.each([
    ['a boundary with a tail', `--bXYZ\r\n${file}\r\n\r\nx\r\n--b--`, /something else than a line break/],
    ['bytes after the end', `${part(file, 'x')}--b--\r\n${'x'.repeat(20_000)}`, /goes on after/],
    ['a preamble without end', 'x'.repeat(20_000), /first boundary/],
    ['a header without end', `--b\r\nX: ${'x'.repeat(20_000)}`, /larger than 8192 bytes/],
    ['a header that is too large', part(`X: ${'x'.repeat(9_000)}\r\n${file}`, 'x') + '--b--', /larger than/],
    ['spaces without end', `--b${' '.repeat(20_000)}\r\n`, /too many spaces/],
    ['no disposition', part('Content-Type: text/plain', 'x') + '--b--', /no Content-Disposition/],
    ['no header at all', '--b\r\n\r\nx\r\n--b--', /no Content-Disposition/],
    [
      'another disposition',
      part('Content-Disposition: attachment; filename="x"', 'x') + '--b--',
      /not form-data/,
    ],
    ['two dispositions', part(`${file}\r\n${file}`, 'x') + '--b--', /repeats content-disposition/],
    ['two file names', part(`${file}; filename="b"`, 'x') + '--b--', /gives filename twice/],
    ['a folded line', part(`Content-Disposition: form-data;\r\n name="f"`, 'x') + '--b--', /no field/],
    ['a bare line break', part(`${file}\nX: y`, 'x') + '--b--', /no field/],
    ['an open quote', part('Content-Disposition: form-data; name="f', 'x') + '--b--', /cannot be read/],
  ])('is refused with %s', async (_name, hostile, reason) => {
    expect(await refusal(hostile)).toMatch(reason);
    expect(await refusal(hostile, 5)).toMatch(reason);
  });

  it.each([
    ['filename="naïve ☃.jpg"', 'naïve ☃.jpg'],
    ['filename="C:\\Users\\me\\a.jpg"', 'C:\\Users\\me\\a.jpg'],
    ['filename="say \\"hi\\".txt"', 'say "hi".txt'],
    ['filename="say %22hi%22%0D%0A.txt"', 'say "hi"\r\n.txt'],
    ['filename=plain.txt', 'plain.txt'],
    ['filename=""', ''],
    ['filename="x"; filename*=UTF-8\'\'%e2%98%83.txt', '☃.txt'],
    ['filename="x"; filename*=UTF-8\'\'%zz', 'x'],
    ['filename="semi;colon=1.txt";', 'semi;colon=1.txt'],
  ])('reads the file name of %s', async (parameter, filename) => {
    const [one] = await read(part(`Content-Disposition: form-data; name="f"; ${parameter}`, 'x') + '--b--');
    expect(one?.filename).toBe(filename);
  });

  it('reads hostile headers in linear time', async () => {
    const started = performance.now();
    for (const filler of [' '.repeat(8_000), ';'.repeat(8_000), '\\"'.repeat(4_000), '; a'.repeat(2_700)]) {
      await refusal(part(`Content-Disposition: form-data; name="${filler}`, 'x') + '--b--');
      await refusal(part(`Content-Disposition: form-data${filler}`, 'x') + '--b--');
    }
    expect(performance.now() - started).toBeLessThan(1_000);
  });
});
