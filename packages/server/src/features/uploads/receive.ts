import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';

import { BlobLengthMismatch, type BlobStore } from '../../foundation/blobs/blob-store.js';
import { originalKey } from '../../foundation/blobs/keys.js';
import type { Db } from '../../foundation/database/connect.js';
import { newId } from '../../foundation/ids.js';
import type { PictureFacts } from '../../foundation/imaging/imaging.js';
import { detectType, sniffedBytes, type DetectedType } from '../../foundation/media-types.js';
import { openFile, resizeReservation } from '../files/intake-queries.js';
import { cleanFilename } from '../files/names.js';
import type { FileRow } from '../files/queries.js';
import type { Quota } from '../files/usage-queries.js';
import { inTransaction } from '../projects/queries.js';
import type { ActiveUpload } from './active.js';
import type { Policy } from './policy.js';

/** One file on its way in, whichever way it takes. */
export interface IncomingFile {
  /** As the client wrote it. */
  readonly filename: string;
  /** As the client claims; kept for support, never believed. */
  readonly declaredType: string | undefined;
  /** The bytes. */
  readonly body: AsyncIterator<Buffer, void, undefined>;
  /** Most bytes the file can have, as far as the request tells; exact for the only file of a request. */
  readonly expectedBytes: number | undefined;
  /** The client's own, checked. */
  readonly metadata?: Readonly<Record<string, unknown>>;
}

/** What one upload is received with. */
export interface Reception {
  readonly db: Db;
  readonly blobs: BlobStore;
  readonly policy: Policy;
  readonly projectId: string;
  readonly quota: Quota;
  readonly createdBy: { readonly userId?: string; readonly keyId?: string };
  readonly upload: ActiveUpload;
  /** Bytes by which the reservation of a file of unknown size grows. */
  readonly reserveStepBytes: number;
  /** Most bytes of a picture that are held in memory to find its header. */
  readonly headProbeBytes: number;
}

/** A file whose bytes are in the store and not yet acknowledged. */
export interface ReceivedFile {
  readonly row: FileRow;
  /** As it is shown. */
  readonly filename: string;
  readonly size: number;
  readonly sha256: Buffer;
  readonly facts: PictureFacts | undefined;
}

/** First amount of a picture that is asked for its header; nearly all tell within it. */
const usualHeaderBytes = 256 * 1024;
/** What may wait between the client and the store. */
const bufferedBytes = 1024 * 1024;

/**
 * Receives one file: its first bytes are judged in memory, its row is committed with its key and its reservation,
 * and then the bytes pass once: limit, count, hash, store. Whatever fails is thrown; the caller abandons what
 * `upload.opened` names.
 */
export async function receiveFile(reception: Reception, file: IncomingFile): Promise<ReceivedFile> {
  const { policy, upload, projectId } = reception;
  const head = new Head(file.body);
  await head.grow(sniffedBytes);
  const type = await detectType(head.bytes);
  policy.checkType(type);
  policy.checkSize(head.bytes.length);
  const facts = await probeHead(reception, type, head);

  const row = await open(reception, file, type, head);
  upload.opened.add(row.id);
  upload.beating.add(row.id);
  upload.signal.throwIfAborted();

  const meter = new Meter(reception, row);
  const body = head.complete
    ? await meter.whole(head.bytes)
    : Readable.from(meter.pass(head.bytes, file.body), { objectMode: false, highWaterMark: bufferedBytes });
  upload.writing.add(row.id);
  const stored = await reception.blobs.put(row.s3_key, body, {
    contentType: row.mime_type,
    signal: upload.signal,
  });
  upload.writing.delete(row.id);
  if (stored.size !== meter.count) {
    throw new BlobLengthMismatch(`stored ${stored.size} of ${meter.count} bytes`, row.s3_key);
  }
  // What was reserved for more files, framing or the next step comes back before the next file asks for room.
  if (meter.held !== meter.count) await meter.hold(meter.count, meter.count);
  return { row, filename: row.filename, size: meter.count, sha256: meter.hash.digest(), facts };

  async function open(
    { db, quota, createdBy, reserveStepBytes }: Reception,
    { filename, declaredType, expectedBytes, metadata }: IncomingFile,
    { mime, extension }: DetectedType,
    { bytes, complete }: Head,
  ): Promise<FileRow> {
    const id = newId();
    // Named before the commit, whose answer may be lost.
    upload.opened.add(id);
    const known = complete ? bytes.length : expectedBytes;
    const want = Math.min(known ?? Math.max(reserveStepBytes, bytes.length), policy.maxBytes);
    return inTransaction(db, (tx) =>
      openFile(
        tx,
        {
          id,
          projectId,
          key: originalKey(projectId, id, extension),
          filename: cleanFilename(filename),
          mimeType: mime,
          declaredType: declaredType?.replace(/\p{Cc}/gu, '').slice(0, 255) ?? null,
          createdBy,
          metadata,
          need: known === undefined ? bytes.length : want,
          want,
        },
        quota,
      ),
    );
  }
}

/** Reads more of the head as long as a picture's header does not end in it, up to the limit. */
async function probeHead(
  { policy, upload, headProbeBytes }: Reception,
  type: DetectedType,
  head: Head,
): Promise<PictureFacts | undefined> {
  for (const amount of [head.bytes.length, usualHeaderBytes, headProbeBytes]) {
    await head.grow(Math.min(amount, headProbeBytes));
    const facts = await policy.checkPicture(type, head, upload.signal);
    if (facts !== 'more-needed') return facts;
    if (head.complete) break;
  }
  // The render reads all of it, and refuses what has too many pixels.
  return undefined;
}

/** The beginning of a body, held in memory. */
class Head {
  bytes: Buffer = Buffer.alloc(0);
  /** True when the body has no more than this. */
  complete = false;
  readonly #body: AsyncIterator<Buffer, void, undefined>;

  constructor(body: AsyncIterator<Buffer, void, undefined>) {
    this.#body = body;
  }

  async grow(amount: number): Promise<void> {
    const chunks = [this.bytes];
    let length = this.bytes.length;
    while (length < amount && !this.complete) {
      const result = await this.#body.next();
      if (result.done === true) {
        this.complete = true;
      } else {
        chunks.push(result.value);
        length += result.value.length;
      }
    }
    if (chunks.length > 1) this.bytes = Buffer.concat(chunks, length);
  }
}

/** Counts and hashes what passes, and holds the limit and the reservation ahead of it. */
class Meter {
  count = 0;
  held: number;
  readonly hash = createHash('sha256');
  readonly #reception: Reception;
  readonly #row: FileRow;

  constructor(reception: Reception, row: FileRow) {
    this.#reception = reception;
    this.#row = row;
    this.held = row.reserved_bytes;
  }

  async whole(bytes: Buffer): Promise<Buffer> {
    await this.#take(bytes);
    return bytes;
  }

  async *pass(
    head: Buffer,
    body: AsyncIterator<Buffer, void, undefined>,
  ): AsyncGenerator<Buffer, void, undefined> {
    await this.#take(head);
    yield head;
    while (true) {
      const result = await body.next();
      if (result.done === true) return;
      await this.#take(result.value);
      yield result.value;
    }
  }

  async hold(need: number, want: number): Promise<void> {
    const { db, projectId, quota } = this.#reception;
    this.held = await inTransaction(db, (tx) =>
      resizeReservation(tx, projectId, this.#row.id, { need, want }, quota),
    );
  }

  async #take(chunk: Buffer): Promise<void> {
    const { policy, reserveStepBytes } = this.#reception;
    const count = this.count + chunk.length;
    policy.checkSize(count);
    if (count > this.held) {
      await this.hold(count, Math.max(count, Math.min(count + reserveStepBytes, policy.maxBytes)));
    }
    this.hash.update(chunk);
    this.count = count;
  }
}
