import sharp from 'sharp';
import { describe, expect, test } from 'vitest';

import { displayP3Photo, srgbProfilePhoto } from '../../../test/fixtures/pictures.js';
import { isSrgbProfile } from './srgb-profile.js';

const profileOf = async (picture: Buffer): Promise<Buffer> => {
  const { icc } = await sharp(picture).metadata();
  if (!icc) throw new Error('the picture carries no profile');
  return icc;
};
const tiny = { width: 8, height: 8 };

describe('a profile is told by what it says', () => {
  test('sRGB is sRGB', async () => {
    expect(isSrgbProfile(await profileOf(await srgbProfilePhoto(tiny)))).toBe(true);
  });

  test('sRGB with curves as tables is sRGB', async () => {
    const profile = await profileOf(await srgbProfilePhoto(tiny));
    const curve = Buffer.alloc(12 + 2 * 1024);
    curve.write('curv', 'latin1');
    curve.writeUInt32BE(1024, 8);
    for (let i = 0; i < 1024; i++) {
      const encoded = i / 1023;
      const linear = encoded <= 0.04045 ? encoded / 12.92 : ((encoded + 0.055) / 1.055) ** 2.4;
      curve.writeUInt16BE(Math.round(linear * 65535), 12 + 2 * i);
    }
    expect(isSrgbProfile(withCurve(profile, curve))).toBe(true);
  });

  test('the same primaries with another gamma are not', async () => {
    const profile = await profileOf(await srgbProfilePhoto(tiny));
    const curve = Buffer.alloc(12 + 2 * 256);
    curve.write('curv', 'latin1');
    curve.writeUInt32BE(256, 8);
    for (let i = 0; i < 256; i++) curve.writeUInt16BE(Math.round((i / 255) ** 1.8 * 65535), 12 + 2 * i);
    expect(isSrgbProfile(withCurve(profile, curve))).toBe(false);
  });

  test('Display P3, which has the same curves, is not', async () => {
    expect(isSrgbProfile(await profileOf(await displayP3Photo(tiny)))).toBe(false);
  });

  test('a profile that is cut anywhere is not, and costs no exception', async () => {
    const profile = await profileOf(await srgbProfilePhoto(tiny));
    for (let length = 0; length < profile.length - 32; length += 7) {
      expect(isSrgbProfile(profile.subarray(0, length))).toBe(false);
    }
  });
});

/** The profile with all three curves replaced by one behind its end. */
function withCurve(profile: Buffer, curve: Buffer): Buffer {
  const result = Buffer.concat([profile, curve]);
  const count = result.readUInt32BE(128);
  for (let entry = 132; entry < 132 + 12 * count; entry += 12) {
    if (!/^[rgb]TRC$/.test(result.toString('latin1', entry, entry + 4))) continue;
    result.writeUInt32BE(profile.length, entry + 4);
    result.writeUInt32BE(curve.length, entry + 8);
  }
  return result;
}
