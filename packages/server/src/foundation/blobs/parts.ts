import { PartsRefused, type Part } from './blob-store.js';

/** S3's own number; the disk store keeps to it, so that a plan of parts fits both. */
export const mostParts = 10_000;

export function assertPartNumber(number: number): void {
  if (Number.isSafeInteger(number) && number >= 1 && number <= mostParts) return;
  throw new RangeError(`not the number of a part: ${number}`);
}

export function assertPartSize(size: number, largest: number, key: string): void {
  if (size > largest) throw new PartsRefused(`a part may have ${largest} bytes, this one has more`, key);
}

/**
 * Bytes of the blob that the parts make.
 * @throws PartsRefused when there are none, they are not in the order of their numbers, or one but the last has fewer
 * bytes than `smallest`.
 */
export function totalOf(parts: readonly Part[], smallest: number, key: string): number {
  if (parts.length === 0) throw new PartsRefused('no parts were named', key);
  let previous = 0;
  let total = 0;
  for (const [index, { number, size }] of parts.entries()) {
    assertPartNumber(number);
    if (number <= previous) throw new PartsRefused('the parts are not in the order of their numbers', key);
    if (size < smallest && index < parts.length - 1) {
      throw new PartsRefused(`part ${number} has ${size} bytes, all but the last need ${smallest}`, key);
    }
    previous = number;
    total += size;
  }
  return total;
}
