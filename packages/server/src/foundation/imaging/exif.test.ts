import sharp from 'sharp';
import { expect, test } from 'vitest';

import { photoWithPosition } from '../../../test/fixtures/pictures.js';
import { readExif } from './exif.js';

const blockOf = async (picture: Buffer): Promise<Buffer> => {
  const { exif } = await sharp(picture).metadata();
  if (!exif) throw new Error('the picture carries no EXIF');
  return exif;
};

test('the camera and its settings are told, the place is not', async () => {
  const facts = await readExif(await blockOf(await photoWithPosition({ width: 16, height: 16 })));
  expect(facts).toEqual({
    cameraMake: 'Generated',
    cameraModel: 'Arithmetic 1',
    lens: 'Straight line 50',
    exposureSeconds: 0.004,
    fNumber: 2.8,
    iso: 200,
    focalLengthMm: 50,
    takenAt: '2024-05-17T09:30:15',
  });
});

test('a picture without EXIF has none', async () => {
  expect(await readExif(undefined)).toBeNull();
});

test('broken EXIF is no EXIF', async () => {
  const block = await blockOf(await photoWithPosition({ width: 16, height: 16 }));
  expect(await readExif(Buffer.from('Exif\0\0nonsense'))).toBeNull();
  for (let length = 0; length < block.length; length += 11) {
    const facts = await readExif(block.subarray(0, length));
    expect(JSON.stringify(facts)).not.toContain('GPS');
  }
});

test('texts are safe to store: no control characters, no half characters, a bounded length', async () => {
  const picture = await sharp({ create: { width: 4, height: 4, channels: 3, background: 'red' } })
    .withExif({ IFD0: { Make: `\x01Bell\x07 ${'é'.repeat(400)}`, Model: '   ' } })
    .jpeg()
    .toBuffer();
  const facts = await readExif(await blockOf(picture));
  expect(facts?.cameraMake?.length).toBe(100);
  expect(facts?.cameraMake).toMatch(/^[^\p{Cc}\p{Cs}]+$/u);
  expect(facts?.cameraModel).toBeUndefined();
});
