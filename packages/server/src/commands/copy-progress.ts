import type { Amount, CopyTally } from '../foundation/blobs/copy-store.js';

export interface ProgressOptions {
  readonly tally: CopyTally;
  /** A line that stays. */
  readonly print: (line: string) => void;
  /** Writes over the last line of a terminal; undefined where there is none. */
  readonly draw: ((line: string) => void) | undefined;
}

const drawEveryMs = 250;
const printEveryMs = 10_000;
/** The rate is that of the last this many milliseconds, so that a slow start does not spoil the rest. */
const rateWindowMs = 30_000;

interface Sample extends Amount {
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly moved: number;
}

/** Shows how far a copy is until the result is called: on a terminal a line that changes, elsewhere one every 10 s. */
export function showProgress({ tally, print, draw }: ProgressOptions): () => void {
  const samples: Sample[] = [];
  const line = (): string => {
    const { blobs, bytes } = doneOf(tally);
    const now: Sample = { at: Date.now(), moved: tally.moved, blobs, bytes };
    samples.push(now);
    const first = samples.find(({ at }) => now.at - at <= rateWindowMs) ?? now;
    samples.splice(0, samples.indexOf(first));
    const seconds = Math.max(0.001, (now.at - first.at) / 1000);
    return progressLine(tally, {
      movedPerSecond: (now.moved - first.moved) / seconds,
      bytesPerSecond: (now.bytes - first.bytes) / seconds,
      blobsPerSecond: (now.blobs - first.blobs) / seconds,
    });
  };
  line();
  const timer = setInterval(() => (draw ? draw(line()) : print(line())), draw ? drawEveryMs : printEveryMs);
  return () => {
    clearInterval(timer);
    draw?.('');
  };
}

export interface Rates {
  /** Bytes read from the source. */
  readonly movedPerSecond: number;
  /** Bytes of blobs that are dealt with, those included that are there already. */
  readonly bytesPerSecond: number;
  readonly blobsPerSecond: number;
}

/** `1,200 of 5,000 blobs · 1.2 of 40.0 GiB · 85.3 MiB/s · 7 min left · 2 failures` */
export function progressLine(tally: CopyTally, rates: Rates): string {
  const done = doneOf(tally);
  const { total } = tally;
  // What appears meanwhile is not in the total: never "6 of 5".
  const known = total && {
    blobs: Math.max(total.blobs, done.blobs),
    bytes: Math.max(total.bytes, done.bytes),
  };
  const parts = known
    ? [`${count(done.blobs)} of ${count(known.blobs)} blobs`, `${size(done.bytes)} of ${size(known.bytes)}`]
    : [`${count(done.blobs)} blobs`, size(done.bytes)];
  parts.push(`${size(rates.movedPerSecond)}/s`);
  const left = known && timeLeft(known, done, rates);
  if (left !== undefined) parts.push(`${left} left`);
  const { blobs: failures } = tally.outcomes.failure;
  if (failures > 0) parts.push(`${count(failures)} ${failures === 1 ? 'failure' : 'failures'}`);
  return parts.join(' · ');
}

/** Blobs of the source that are dealt with, and their bytes. */
export function doneOf({ outcomes }: CopyTally): Amount {
  const { copied, verified, known, failure } = outcomes;
  const parts = [copied, verified, known, failure];
  return {
    blobs: parts.reduce((sum, { blobs }) => sum + blobs, 0),
    bytes: parts.reduce((sum, { bytes }) => sum + bytes, 0),
  };
}

/** What a blob costs beside its bytes, as bytes: small ones cost requests, large ones bandwidth. */
const bytesPerBlob = 256 * 1024;

function timeLeft(total: Amount, done: Amount, rates: Rates): string | undefined {
  const perSecond = rates.bytesPerSecond + rates.blobsPerSecond * bytesPerBlob;
  if (perSecond <= 0) return undefined;
  const seconds = (total.bytes - done.bytes + (total.blobs - done.blobs) * bytesPerBlob) / perSecond;
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

export function count(number: number): string {
  return number.toLocaleString('en-US');
}

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;

export function size(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}
