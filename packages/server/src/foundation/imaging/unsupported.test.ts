import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { pino } from 'pino';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { decoderEntry } from '../../../test/fixtures/imaging.js';
import { svgPicture } from '../../../test/fixtures/impostors.js';
import { photo } from '../../../test/fixtures/pictures.js';
import { detectType } from '../media-types.js';
import type { Imaging } from './imaging.js';
import { createImaging } from './pool.js';

let folder: string;
let childEntry: URL;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'unsupported-test-'));
  childEntry = await decoderEntry();
});
afterAll(() => rm(folder, { recursive: true }));

/** A HEIC as its container says: an AVIF whose boxes speak of HEVC. */
async function heic(): Promise<Buffer> {
  const bytes = await photo({ width: 64, height: 48, format: 'avif' });
  const words = { avif: 'heic', mif1: 'mif1', av01: 'hvc1', av1C: 'hvcC' };
  let text = bytes.toString('latin1');
  for (const [from, to] of Object.entries(words)) text = text.replaceAll(from, to);
  return Buffer.from(text, 'latin1');
}

/** One red pixel. */
function bitmap(): Buffer {
  const bytes = Buffer.alloc(58);
  bytes.write('BM');
  bytes.writeUInt32LE(58, 2);
  bytes.writeUInt32LE(54, 10);
  bytes.writeUInt32LE(40, 14);
  bytes.writeInt32LE(1, 18);
  bytes.writeInt32LE(1, 22);
  bytes.writeUInt16LE(1, 26);
  bytes.writeUInt16LE(24, 28);
  bytes[56] = 255;
  return bytes;
}

const jxlContainer = Buffer.concat([
  Buffer.from('0000000c4a584c200d0a870a', 'hex'),
  Buffer.from('00000014667479706a786c20000000006a786c20', 'hex'),
]);
const pdf = Buffer.from(
  '%PDF-1.4\n%\xe2\xe3\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n' +
    '3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n',
  'latin1',
);

const files: [string, string, () => Buffer | Promise<Buffer>][] = [
  ['HEIC', 'image/heic', heic],
  ['JPEG XL', 'image/jxl', () => jxlContainer],
  ['JPEG XL without a container', 'image/jxl', () => Buffer.from('ff0a3f1000000000', 'hex')],
  ['BMP', 'image/bmp', bitmap],
  ['PDF', 'application/pdf', () => pdf],
  [
    'TIFF',
    'image/tiff',
    async () =>
      sharp(await photo({ width: 9, height: 9 }))
        .tiff()
        .toBuffer(),
  ],
  ['JPEG 2000', 'image/jp2', () => Buffer.from('0000000c6a5020200d0a870a00000014667479706a703220', 'hex')],
];

describe.each([
  ['by default', false],
  ['where SVG is drawn', true],
])('%s', (_, rasterizesSvg) => {
  let imaging: Imaging;
  beforeAll(() => {
    imaging = createImaging({
      log: pino({ level: 'silent' }),
      size: 1,
      memoryLimitBytes: 2 ** 29,
      wallClockMs: 10_000,
      rasterizesSvg,
      childEntry,
    });
  });
  afterAll(() => imaging.close());

  const render = async (name: string, bytes: Buffer) => {
    const path = join(folder, `${rasterizesSvg}-${name}`);
    await writeFile(path, bytes);
    const outputFolder = await mkdtemp(join(folder, 'out-'));
    const recipe = { width: 8, fit: 'inside', format: 'png' } as const;
    return imaging.render({ path, recipes: [{ name: 'one', recipe }], outputFolder });
  };

  test.each(files)('%s is called an unsupported codec', async (name, mime, make) => {
    const bytes = await make();
    expect((await detectType(bytes)).mime).toBe(mime);
    const refusal = { code: 'unsupported-codec', permanent: true };
    await expect(render(name, bytes)).rejects.toMatchObject(refusal);
    await expect(imaging.probe({ bytes, complete: true })).rejects.toMatchObject(refusal);
  });

  test(`SVG is ${rasterizesSvg ? 'drawn' : 'not drawn'}`, async () => {
    const drawing = render('SVG', svgPicture());
    if (rasterizesSvg) await expect(drawing).resolves.toMatchObject({ facts: { width: 40, height: 40 } });
    else await expect(drawing).rejects.toMatchObject({ code: 'unsupported-codec' });
  });
});
