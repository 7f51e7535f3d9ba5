import { describe, expect, it } from 'vitest';
import { rgbaToThumbHash } from 'thumbhash';

import { createPlaceholders } from './placeholder.js';

const png = Buffer.from([0x89, 0x50, 0x4e, 0x47]);

function hashOf(width: number, height: number): Buffer {
  const rgba = Uint8Array.from({ length: width * height * 4 }, (_, at) =>
    at % 4 === 3 ? 255 : (at * 7) % 256,
  );
  return Buffer.from(rgbaToThumbHash(width, height, rgba));
}

describe('a placeholder', () => {
  it('has the shape of the picture', () => {
    const wide = createPlaceholders().of(hashOf(80, 40));
    expect(wide.subarray(0, 4)).toEqual(png);
    expect(wide.readUInt32BE(16)).toBeGreaterThan(wide.readUInt32BE(20));
  });

  it('is made once', () => {
    const placeholders = createPlaceholders();
    expect(placeholders.of(hashOf(40, 40))).toBe(placeholders.of(hashOf(40, 40)));
  });

  it.each([null, Buffer.alloc(0), Buffer.from([1, 2, 3])])('is neutral for the hash %o', (hash) => {
    const neutral = createPlaceholders().of(hash);
    expect(neutral.subarray(0, 4)).toEqual(png);
    expect([neutral.readUInt32BE(16), neutral.readUInt32BE(20)]).toEqual([1, 1]);
  });
});
