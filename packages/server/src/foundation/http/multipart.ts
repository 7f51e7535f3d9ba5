import { Problem } from '../problems.js';
import { parseDisposition, parsePartHeaders } from './part-headers.js';

/** One part of a multipart body. */
export interface Part {
  /** 0 for the first part of the body, whatever it holds. */
  readonly index: number;
  /** Name of the form's field; empty when the part has none. */
  readonly name: string;
  /** As the client wrote it, for cleaning; undefined for a part that is no file. */
  readonly filename: string | undefined;
  /** As the client claims. */
  readonly contentType: string | undefined;
  /** Bytes of the whole body that stand before this part's content. */
  readonly offset: number;
  /** The content, to be read before the next part is asked for; what is left unread then is thrown away. */
  readonly body: AsyncGenerator<Buffer, void, undefined>;
}

export interface MultipartLimits {
  /** Bytes of one part's header. */
  readonly headerBytes: number;
  /** Bytes before the first boundary and after the last one, each. */
  readonly surroundBytes: number;
}

const standardLimits: MultipartLimits = { headerBytes: 8 * 1024, surroundBytes: 16 * 1024 };

const crlf = Buffer.from('\r\n');
const headerEnd = Buffer.from('\r\n\r\n');
const carriageReturn = 0x0d;
const dash = 0x2d;

/**
 * The boundary that a `multipart/form-data` content type names (RFC 2046 §5.1.1: 1–70 characters).
 * @throws Problem `malformed-body` without one.
 */
export function boundaryOf(contentType: string): string {
  const match = /;\s*boundary=(?:"([^"]*)"|([^\s;"]+))\s*(?:;|$)/i.exec(contentType);
  const boundary = match?.[1] ?? match?.[2];
  if (boundary === undefined || !/^[\w'()+,./:=? -]{0,69}[\w'()+,./:=?-]$/.test(boundary)) {
    throw malformed('The Content-Type names no valid boundary.');
  }
  return boundary;
}

/**
 * Bytes that follow the content of a body's only part when nothing but the closing boundary and a line break
 * follow it, as every client we know sends it.
 */
export function framingAfter(boundary: string): number {
  return '\r\n--'.length + boundary.length + '--\r\n'.length;
}

/**
 * Reads a `multipart/form-data` body (RFC 7578) part by part, pulling bytes only as they are asked for. Memory is
 * one chunk of the source and one part's header, whatever is sent. Contents are views of the source's chunks.
 *
 * Strict where laxness loses files: a part whose header is too large or broken, a body without its closing boundary
 * and a body that goes on after it are refused as a whole with `malformed-body`, never skipped in silence.
 */
export async function* readParts(
  source: AsyncIterator<Buffer>,
  boundary: string,
  limits: MultipartLimits = standardLimits,
): AsyncGenerator<Part, void, undefined> {
  const delimiter = Buffer.from(`\r\n--${boundary}`, 'latin1');
  // The first boundary may stand at the very beginning: the line break before it is put there by us.
  const reader = new Window(source, Buffer.from(crlf));
  let before = 0;
  for await (const bytes of reader.upTo(delimiter)) {
    before += bytes.length;
    if (before > limits.surroundBytes) throw malformed('The first boundary does not appear.');
  }
  for (let index = 0; !(await atEnd(reader)); index++) {
    const header = parsePartHeaders(await readHeader(reader, limits.headerBytes));
    const { name, filename } = parseDisposition(header.get('content-disposition'));
    reader.enterContent();
    yield {
      index,
      name,
      filename,
      contentType: header.get('content-type'),
      offset: reader.consumed - crlf.length,
      body: reader.upTo(delimiter),
    };
    if (reader.standsInContent()) await discard(reader.upTo(delimiter));
  }
  await readEpilogue(reader, limits.surroundBytes);
}

async function discard(content: AsyncGenerator<Buffer, void, undefined>): Promise<void> {
  while ((await content.next()).done !== true) {
    // The content itself is not wanted.
  }
}

/** Stands behind a boundary: true when it was the closing one, whose dashes are consumed. */
async function atEnd(reader: Window): Promise<boolean> {
  await reader.atLeast(2);
  const [first, second] = [reader.bytes[0], reader.bytes[1]];
  if (first !== dash || second !== dash) return false;
  reader.skip(2);
  return true;
}

/** Reads from behind a boundary to behind the empty line that ends the part's header; returns the lines between. */
async function readHeader(reader: Window, limit: number): Promise<Buffer> {
  // Spaces after the boundary are allowed (RFC 2046 calls them transport padding); anything else is not.
  for (let padding = 0; ; padding++) {
    await reader.atLeast(1);
    const byte = reader.bytes[0];
    if (byte !== 0x20 && byte !== 0x09) break;
    if (padding === limit) throw malformed('A boundary is followed by too many spaces.');
    reader.skip(1);
  }
  await reader.atLeast(2);
  if (!reader.bytes.subarray(0, 2).equals(crlf)) {
    throw malformed('A boundary is followed by something else than a line break.');
  }
  for (let from = 0; ;) {
    const end = reader.bytes.indexOf(headerEnd, from);
    if (end > limit || (end === -1 && reader.bytes.length > limit + headerEnd.length)) {
      throw malformed(`The header of a part is larger than ${limit} bytes.`);
    }
    if (end !== -1) {
      const lines = reader.bytes.subarray(Math.min(crlf.length, end), end);
      reader.skip(end + headerEnd.length);
      return lines;
    }
    from = Math.max(0, reader.bytes.length - headerEnd.length + 1);
    await reader.atLeast(reader.bytes.length + 1);
  }
}

async function readEpilogue(reader: Window, limit: number): Promise<void> {
  let length = 0;
  do {
    length += reader.bytes.length;
    if (length > limit) throw malformed('The body goes on after its closing boundary.');
    reader.skip(reader.bytes.length);
  } while (await reader.fill());
}

/** The part of the body that has been pulled and not yet consumed. */
class Window {
  bytes: Buffer;
  /** Bytes consumed so far, those the window began with included. */
  consumed = 0;
  /** Set where a content begins, cleared where its delimiter has been consumed. */
  #inContent = false;
  readonly #source: AsyncIterator<Buffer>;

  constructor(source: AsyncIterator<Buffer>, beginning: Buffer) {
    this.#source = source;
    this.bytes = beginning;
  }

  enterContent(): void {
    this.#inContent = true;
  }

  standsInContent(): boolean {
    return this.#inContent;
  }

  skip(count: number): void {
    this.bytes = this.bytes.subarray(count);
    this.consumed += count;
  }

  /** Pulls one more chunk; false at the end of the body. */
  async fill(): Promise<boolean> {
    const result = await this.#source.next();
    if (result.done === true) return false;
    this.bytes = this.bytes.length === 0 ? result.value : Buffer.concat([this.bytes, result.value]);
    return true;
  }

  async atLeast(count: number): Promise<void> {
    while (this.bytes.length < count) {
      if (!(await this.fill())) throw cut();
    }
  }

  /** Everything up to the delimiter, which is consumed too. */
  async *upTo(delimiter: Buffer): AsyncGenerator<Buffer, void, undefined> {
    while (true) {
      const found = this.bytes.indexOf(delimiter);
      const length = found === -1 ? this.bytes.length - beginningOf(delimiter, this.bytes) : found;
      const content = this.bytes.subarray(0, length);
      // Consumed before it is handed out: a consumer that stops here must not see it again.
      this.skip(found === -1 ? length : length + delimiter.length);
      if (found !== -1) this.#inContent = false;
      if (content.length > 0) yield content;
      if (found !== -1) return;
      if (!(await this.fill())) throw cut();
    }
  }
}

/** Length of the longest end of `bytes` that is a beginning of `delimiter`, and so may be one cut by a chunk's end. */
function beginningOf(delimiter: Buffer, bytes: Buffer): number {
  let at = bytes.indexOf(carriageReturn, Math.max(0, bytes.length - delimiter.length + 1));
  while (at !== -1) {
    const length = bytes.length - at;
    if (bytes.compare(delimiter, 0, length, at) === 0) return length;
    at = bytes.indexOf(carriageReturn, at + 1);
  }
  return 0;
}

function cut(): Problem {
  return malformed('The body ends without its closing boundary.');
}

function malformed(detail: string): Problem {
  return new Problem('malformed-body', { detail });
}
