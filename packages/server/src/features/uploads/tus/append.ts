import { createHash, type Hash } from 'node:crypto';
import { buffer } from 'node:stream/consumers';

import type { BlobStore, Part } from '../../../foundation/blobs/blob-store.js';
import { originalKey, stagingKey } from '../../../foundation/blobs/keys.js';
import type { Db, Tx } from '../../../foundation/database/connect.js';
import { detectType, sniffedBytes } from '../../../foundation/media-types.js';
import { Problem } from '../../../foundation/problems.js';
import { resizeUpload } from '../../files/upload-queries.js';
import type { Quota } from '../../files/usage-queries.js';
import { inTransaction } from '../../projects/queries.js';
import { partBytesFor } from '../part-size.js';
import type { Policy } from '../policy.js';
import { PartBuffer } from './part-buffer.js';
import type { Checksum } from './protocol.js';
import { addParts, openTail, partsOf, settleTail, writeProgress, type Progress } from './queries.js';
import type { RunningHashes } from './running-hashes.js';
import type { HeldUpload } from './upload-lock.js';

export interface AppendOptions {
  readonly db: Db;
  readonly blobs: BlobStore;
  readonly policy: Policy;
  readonly quota: Quota;
  readonly hashes: RunningHashes;
  /** Bytes by which the reservation of an upload of unknown length grows. */
  readonly reserveStepBytes: number;
  /** Most bytes of a picture held in memory to find its header. */
  readonly headProbeBytes: number;
  /**
   * What else belongs into the transaction that counts the last byte.
   * @param hashed whether the SHA-256 of all bytes is known.
   */
  readonly completing: (tx: Tx, hashed: boolean) => Promise<void>;
}

export interface Appended {
  /** Bytes of the upload that are safely in the store. */
  readonly received: number;
  /** SHA-256 of all of them, when they have all come by here. */
  readonly sha256: Buffer | undefined;
  /** Parts of the put in parts under way; none for what was put whole. */
  readonly parts: readonly Part[];
  /** Why the body ended before its time; what arrived is kept all the same. */
  readonly cut: Error | undefined;
}

/** First amounts of a picture that are asked for its header; nearly all tell within the second. */
const headSteps = [sniffedBytes, 256 * 1024];

/**
 * Appends a request's body to an upload. Whole parts go to the store as they fill, one on its way while the next is
 * filled; what is left behind the last of them waits in a blob of its own for the next request. Progress is
 * committed after each part and at the end, also when the body breaks off: then all that arrived is kept. Bytes
 * with a checksum count only together.
 *
 * @param size of the whole upload; null when it is not known yet.
 * @throws Problem of the policy, the quota, or the checksum; UploadLost when another request has taken the upload.
 */
export async function append(
  options: AppendOptions,
  held: HeldUpload,
  size: number | null,
  body: AsyncIterator<Buffer, void, undefined>,
  checksum: Checksum | undefined,
): Promise<Appended> {
  const appender = new Appender(options, held, size, checksum);
  await appender.resume();
  try {
    let cut: Error | undefined;
    while (true) {
      let next: IteratorResult<Buffer, void>;
      try {
        next = await body.next();
      } catch (error) {
        cut = error instanceof Error ? error : new Error(String(error));
        break;
      }
      if (next.done === true) break;
      await appender.take(next.value);
    }
    return await appender.end(cut);
  } finally {
    // Whoever gets the lock next must not meet a part of ours that is still on its way.
    await appender.settled();
  }
}

class Appender {
  readonly #options: AppendOptions;
  readonly #held: HeldUpload;
  readonly #size: number | null;
  readonly #checksum: Checksum | undefined;
  readonly #digest: Hash | undefined;
  readonly #hash: Hash | undefined;
  /** The hash without this request's bytes, when they may turn out not to count. */
  readonly #hashBefore: Hash | undefined;
  readonly #waiting: PartBuffer;
  /** Bytes of the upload with all that this request has brought. */
  #total: number;
  #reserved: number;
  #key: string;
  /** Detected media type; null until enough bytes have come. */
  #mime: string | null;
  /** Steps of the head that have been probed. */
  #probed = 0;
  #multipartId: string | null;
  #parts: Part[] = [];
  /** Parts that are in the store and not yet in the row. */
  #uncommitted: Part[] = [];
  /** The part that is on its way. */
  #underWay: Promise<void> = Promise.resolve();

  constructor(options: AppendOptions, held: HeldUpload, size: number | null, checksum: Checksum | undefined) {
    const { row } = held;
    this.#options = options;
    this.#held = held;
    this.#size = size;
    this.#checksum = checksum;
    this.#digest = checksum && createHash(checksum.algorithm);
    this.#hash = options.hashes.take(row.id, row.received_bytes);
    this.#hashBefore = checksum && this.#hash?.copy();
    this.#waiting = new PartBuffer(row.part_bytes ?? partBytesFor(size));
    this.#total = row.received_bytes;
    this.#reserved = row.reserved_bytes;
    this.#key = row.staging_key;
    this.#mime = row.mime_type;
    this.#multipartId = row.multipart_id;
  }

  /** Brings back what earlier requests have left. */
  async resume(): Promise<void> {
    const { db, blobs } = this.#options;
    const { row } = this.#held;
    this.#parts = [...(await partsOf(db, row.id))];
    if (row.tail_key !== null) {
      const { body } = await blobs.get(row.tail_key);
      this.#waiting.add(await buffer(body));
    }
    const counted = this.#parts.reduce((sum, part) => sum + part.size, 0) + this.#waiting.length;
    if (counted !== this.#total) {
      throw new Error(`the upload ${row.id} has ${counted} bytes in the store and ${this.#total} in its row`);
    }
  }

  async take(chunk: Buffer): Promise<void> {
    const total = this.#total + chunk.length;
    if (this.#size !== null && total > this.#size) {
      throw new Problem('file-too-large', {
        detail: 'More bytes came than Upload-Length says.',
        limit: this.#size,
        actual: total,
      });
    }
    this.#options.policy.checkSize(total);
    await this.#reserve(total);
    this.#total = total;
    this.#hash?.update(chunk);
    this.#digest?.update(chunk);
    this.#waiting.add(chunk);
    if (this.#mime === null) await this.#identify(false);
    while (this.#mime !== null) {
      // The last part may be as large as the others: it is left for the end.
      if (this.#total === this.#size && this.#waiting.length <= this.#partBytes) return;
      const part = this.#waiting.takePart();
      if (!part) return;
      await this.#sendPart(part, () => this.#waiting.reuse(part));
    }
  }

  async end(cut: Error | undefined): Promise<Appended> {
    if (this.#checksum) this.#verify(this.#checksum, cut);
    const complete = this.#total === this.#size;
    if (complete && this.#mime === null) await this.#identify(true);
    await this.#underWay;
    await (complete ? this.#finishBytes() : this.#keepTail());
    const { row } = this.#held;
    if (this.#hash && !complete) this.#options.hashes.keep(row.id, this.#total, this.#hash);
    return {
      received: this.#total,
      sha256: complete ? this.#hash?.digest() : undefined,
      parts: this.#parts,
      cut,
    };
  }

  /** Resolves when nothing of this request is on its way to the store any more. */
  async settled(): Promise<void> {
    await this.#underWay.catch(() => undefined);
  }

  get #partBytes(): number {
    return this.#held.row.part_bytes ?? partBytesFor(this.#size);
  }

  async #reserve(total: number): Promise<void> {
    if (total <= this.#reserved) return;
    const { db, policy, quota, reserveStepBytes } = this.#options;
    const { row } = this.#held;
    const want = Math.max(total, Math.min(total + reserveStepBytes, policy.maxBytes));
    this.#reserved = await inTransaction(db, (tx) =>
      resizeUpload(tx, row.project_id, row.id, { need: total, want }, quota),
    );
  }

  /**
   * Judges the first bytes as soon as there are enough of them, and gives the upload its file's key: nobody but us
   * can write there, so the bytes go where they will stay.
   */
  async #identify(last: boolean): Promise<void> {
    const { db, policy, headProbeBytes } = this.#options;
    const { row, holder, signal } = this.#held;
    const step = [...headSteps, headProbeBytes].find((bytes) => bytes > this.#probed) ?? headProbeBytes;
    if (this.#waiting.length < step && !last) return;
    const head = this.#waiting.head(headProbeBytes);
    const type = await detectType(head);
    policy.checkType(type);
    const complete = last && head.length === this.#waiting.length;
    const facts = await policy.checkPicture(type, { bytes: head, complete }, signal);
    if (facts === 'more-needed' && !last && head.length < headProbeBytes) {
      this.#probed = head.length;
      return;
    }
    const known = facts === 'more-needed' ? undefined : facts;
    const key = originalKey(row.project_id, row.file_id, type.extension);
    await writeProgress(db, row.id, holder, {
      staging_key: key,
      mime_type: type.mime,
      width: known?.width ?? null,
      height: known?.height ?? null,
    });
    this.#key = key;
    this.#mime = type.mime;
  }

  /** Sends a part once the one before has arrived. */
  async #sendPart(bytes: Buffer, done: () => void): Promise<void> {
    await this.#underWay;
    const number = this.#parts.length + this.#uncommitted.length + 1;
    const uploadId = this.#multipartId ?? (await this.#beginMultipart());
    const send = async (): Promise<void> => {
      const part = await this.#options.blobs.multipart.put(this.#key, uploadId, number, bytes, {
        size: bytes.length,
      });
      done();
      this.#uncommitted.push(part);
      if (!this.#checksum) await this.#commitParts();
    };
    this.#underWay = send();
    // Heard at the next part or the end; until then it must not count as unhandled.
    this.#underWay.catch(() => undefined);
  }

  async #beginMultipart(): Promise<string> {
    const { db, blobs } = this.#options;
    const { row, holder } = this.#held;
    const multipartId = await blobs.multipart.begin(this.#key, this.#contentType());
    await writeProgress(db, row.id, holder, { multipart_id: multipartId, part_bytes: this.#partBytes });
    this.#multipartId = multipartId;
    return multipartId;
  }

  /** What the parts hold is safe: the bytes that waited before them are not needed any more. */
  async #commitParts(): Promise<void> {
    const parts = this.#uncommitted;
    if (parts.length === 0) return;
    await this.#commit(parts, {}, null);
  }

  async #commit(parts: readonly Part[], progress: Progress, tail: string | null, rest = 0): Promise<void> {
    const { db } = this.#options;
    const { row, holder } = this.#held;
    const all = [...this.#parts, ...parts];
    const received = all.reduce((sum, { size }) => sum + size, 0) + rest;
    await inTransaction(db, async (tx) => {
      await writeProgress(tx, row.id, holder, { ...progress, received_bytes: received });
      await addParts(tx, row.id, parts);
      await settleTail(tx, row.id, tail);
      if (progress.status === 'completing') await this.#options.completing(tx, this.#hash !== undefined);
    });
    this.#parts = all;
    this.#uncommitted = [];
  }

  /** The last bytes: the last part, or all there is of a small file. */
  async #finishBytes(): Promise<void> {
    const { blobs } = this.#options;
    const completing: Progress = { status: 'completing' };
    const rest = this.#waiting.takeRest();
    if (this.#multipartId === null) {
      await blobs.put(this.#key, rest, { size: rest.length, ...this.#contentType() });
      await this.#commit([], completing, null, rest.length);
      return;
    }
    if (rest.length > 0) {
      await this.#sendPart(rest, () => undefined);
      await this.#underWay;
    }
    await this.#commit(this.#uncommitted, completing, null);
  }

  #contentType(): { readonly contentType?: string } {
    return this.#mime === null ? {} : { contentType: this.#mime };
  }

  /** What stands behind the last whole part waits in a blob of its own, named by the row before it is written. */
  async #keepTail(): Promise<void> {
    const { db, blobs } = this.#options;
    const { row, holder } = this.#held;
    const rest = this.#waiting.takeRest();
    if (this.#total === row.received_bytes) return;
    if (rest.length === 0) return this.#commit(this.#uncommitted, {}, null);
    const key = await inTransaction(db, (tx) =>
      openTail(tx, row.id, holder, (number) => stagingKey(row.id, number)),
    );
    await blobs.put(key, rest, { size: rest.length });
    await this.#commit(this.#uncommitted, {}, key, rest.length);
  }

  #verify({ digest }: Checksum, cut: Error | undefined): void {
    // Nothing of the request has been committed, and nothing is.
    if (cut === undefined && this.#digest?.digest().equals(digest) === true) return;
    const { row } = this.#held;
    if (this.#hashBefore) this.#options.hashes.keep(row.id, row.received_bytes, this.#hashBefore);
    if (cut !== undefined) throw cut;
    throw new Problem('checksum-mismatch', {
      detail: 'The bytes that arrived are not those that Upload-Checksum speaks of; send them again.',
    });
  }
}
