import { createHash } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { compareKeys } from './keys.js';

/**
 * A part of the target that was read and found right: all keys up to `through` (null: every key), as far as what is
 * under them is not younger than `modifiedUpTo` (milliseconds by the target's clock).
 */
export interface VerifiedSpan {
  readonly through: string | null;
  readonly modifiedUpTo: number;
}

/** What is remembered between the runs of one copy: some hundred bytes, whatever the number of blobs. */
export interface CopyState {
  /** As the earlier runs left it. */
  readonly earlier: readonly VerifiedSpan[];
  /** Takes in how far this run has come. Written every few seconds; what was not is read again by the next run. */
  note(span: VerifiedSpan): void;
  /** Writes what is not written yet. */
  close(): Promise<void>;
}

const writeEveryMs = 2_000;

/** The file of the copy between two stores, which their texts name. */
export function stateFile(folder: string, from: string, to: string): string {
  const name = createHash('sha256').update(`${from}\n${to}`).digest('hex').slice(0, 16);
  return join(folder, `${name}.json`);
}

/**
 * Opens the memory of a copy. One that cannot be read is none: everything in the target is read again.
 * @throws what the file system says when the folder cannot be written.
 */
export async function openCopyState(path: string): Promise<CopyState> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const earlier = await readSpans(path);
  let current: VerifiedSpan | undefined;
  let writing: Promise<void> = Promise.resolve();
  let written = Date.now();
  const write = (): void => {
    const spans = current === undefined ? earlier : withSpan(earlier, current);
    const text = `${JSON.stringify({ verified: spans })}\n`;
    written = Date.now();
    writing = writing.then(async () => {
      await writeFile(`${path}.new`, text, { mode: 0o600 });
      await rename(`${path}.new`, path);
    });
    // Heard by `close`.
    writing.catch(() => undefined);
  };
  // A folder that cannot be written is told now, not after hours.
  write();
  await writing;
  return {
    earlier,
    note(span) {
      current = span;
      if (Date.now() - written >= writeEveryMs) write();
    },
    close() {
      write();
      return writing;
    },
  };
}

/** The spans that still say something beside the new one, which is the youngest. */
function withSpan(earlier: readonly VerifiedSpan[], span: VerifiedSpan): readonly VerifiedSpan[] {
  const { through } = span;
  if (through === null) return [span];
  const further = earlier.filter(
    (other) => other.through === null || compareKeys(other.through, through) > 0,
  );
  return [...further, span];
}

async function readSpans(path: string): Promise<readonly VerifiedSpan[]> {
  try {
    const { verified } = JSON.parse(await readFile(path, 'utf8')) as { verified?: unknown };
    return Array.isArray(verified) ? verified.filter(isSpan) : [];
  } catch {
    // Not there, or cut by a power failure.
    return [];
  }
}

function isSpan(value: unknown): value is VerifiedSpan {
  if (typeof value !== 'object' || value === null) return false;
  const { through, modifiedUpTo } = value as Partial<VerifiedSpan>;
  return (through === null || typeof through === 'string') && typeof modifiedUpTo === 'number';
}
