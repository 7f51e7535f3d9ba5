/**
 * Gathers chunks until they fill a part. The memory of parts is used again, so that an upload of any length lives in
 * as many buffers as it has parts on their way.
 */
export class PartBuffer {
  readonly #partBytes: number;
  #chunks: Buffer[] = [];
  #length = 0;
  readonly #free: Buffer[] = [];

  constructor(partBytes: number) {
    this.#partBytes = partBytes;
  }

  /** Bytes that wait. */
  get length(): number {
    return this.#length;
  }

  add(chunk: Buffer): void {
    if (chunk.length === 0) return;
    this.#chunks.push(chunk);
    this.#length += chunk.length;
  }

  /** The first bytes that wait, at most so many; they go on waiting. */
  head(bytes: number): Buffer {
    return Buffer.concat(this.#chunks, Math.min(bytes, this.#length));
  }

  /** Takes one whole part out; undefined when fewer bytes wait. Give its memory back with `reuse`. */
  takePart(): Buffer | undefined {
    if (this.#length < this.#partBytes) return undefined;
    const part = this.#free.pop() ?? Buffer.allocUnsafeSlow(this.#partBytes);
    let filled = 0;
    while (filled < part.length) {
      const chunk = this.#chunks.shift();
      if (chunk === undefined) throw new RangeError('fewer bytes wait than were counted');
      const copied = chunk.copy(part, filled);
      filled += copied;
      if (copied < chunk.length) this.#chunks.unshift(chunk.subarray(copied));
    }
    this.#length -= part.length;
    return part;
  }

  reuse(part: Buffer): void {
    this.#free.push(part);
  }

  /** Takes all that waits. */
  takeRest(): Buffer {
    const rest = Buffer.concat(this.#chunks, this.#length);
    this.#chunks = [];
    this.#length = 0;
    return rest;
  }
}
