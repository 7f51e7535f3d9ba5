import { crc32, deflateSync } from 'node:zlib';

/** Uncompressed pixels, rows from top to bottom, 3 (RGB) or 4 (RGBA) bytes each. */
export interface Pixels {
  readonly width: number;
  readonly height: number;
  readonly channels: 3 | 4;
  readonly data: Uint8Array;
}

const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
/** PNG colour types by number of channels: grey, grey and alpha, RGB, RGBA (PNG, third edition, §11.2.1). */
const colourType = { 1: 0, 2: 4, 3: 2, 4: 6 } as const;

/**
 * Encodes pixels as a PNG without libvips, for small pictures made by arithmetic (placeholders, samples):
 * the API process must not load an image library for them. Every row uses the Up filter, which suits the
 * smooth gradients such pictures are made of.
 * @throws RangeError when the data does not fit the dimensions.
 */
export function encodePng({ width, height, channels, data }: Pixels): Buffer {
  const stride = width * channels;
  if (data.length !== stride * height) {
    throw new RangeError(`${data.length} bytes are no ${width}×${height} pixels of ${channels} channels`);
  }
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, colourType[channels], 0, 0, 0], 8);

  const filterUp = 2;
  const filtered = Buffer.alloc((stride + 1) * height);
  for (let y = 0; y < height; y++) {
    const to = y * (stride + 1);
    const from = y * stride;
    filtered[to] = filterUp;
    for (let x = 0; x < stride; x++) {
      const above = y === 0 ? 0 : (data[from - stride + x] ?? 0);
      filtered[to + 1 + x] = (data[from + x] ?? 0) - above;
    }
  }
  return Buffer.concat([
    signature,
    chunk('IHDR', header),
    chunk('IDAT', deflateSync(filtered)),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

/**
 * Wraps pixels and their ICC profile as a PNG without compressing them: a way to hand sharp raw pixels that have a
 * profile, which its raw input cannot carry.
 */
export function wrapAsPng(
  pixels: { readonly width: number; readonly height: number; readonly channels: 1 | 2 | 3 | 4 },
  data: Buffer,
  profile: Buffer,
): Buffer {
  const { width, height, channels } = pixels;
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, colourType[channels], 0, 0, 0], 8);
  const stride = width * channels;
  // Every row begins with its filter: none.
  const rows = Buffer.alloc((stride + 1) * height);
  for (let y = 0; y < height; y++) data.copy(rows, y * (stride + 1) + 1, y * stride, (y + 1) * stride);
  return Buffer.concat([
    signature,
    chunk('IHDR', header),
    chunk('iCCP', Buffer.concat([Buffer.from('icc\0\0', 'latin1'), deflateSync(profile)])),
    chunk('IDAT', deflateSync(rows, { level: 0 })),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

function chunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const framed = Buffer.alloc(body.length + 8);
  framed.writeUInt32BE(data.length, 0);
  body.copy(framed, 4);
  framed.writeUInt32BE(crc32(body), body.length + 4);
  return framed;
}
