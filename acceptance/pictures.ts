import sharp from 'sharp';

/** A photo-like JPEG: a gradient with a white corner at the top left and noise, so that it does not compress away. */
export async function photo(width: number, height: number): Promise<Buffer<ArrayBuffer>> {
  const pixels = Buffer.alloc(width * height * 3);
  // A linear congruential generator (Numerical Recipes): the same picture on every run.
  let state = width * 31 + height;
  for (let at = 0; at < pixels.length; at++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    pixels[at] = state >>> 24;
  }
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = (y * width + x) * 3;
      const corner = x < width / 5 && y < height / 5;
      pixels[at] = corner ? 255 : (x / width) * 200 + (pixels[at] ?? 0) / 16;
      pixels[at + 1] = corner ? 255 : (y / height) * 200 + (pixels[at + 1] ?? 0) / 16;
      pixels[at + 2] = corner ? 255 : 60 + (pixels[at + 2] ?? 0) / 16;
    }
  }
  const jpeg = await sharp(pixels, { raw: { width, height, channels: 3 } })
    .jpeg({ quality: 85 })
    .toBuffer();
  return Buffer.from(jpeg);
}

/** The same with an EXIF orientation (1–8), stored as a camera would: the pixels stay, the tag tells. */
export async function oriented(jpeg: Buffer, orientation: number): Promise<Buffer<ArrayBuffer>> {
  return Buffer.from(await sharp(jpeg).withMetadata({ orientation }).jpeg().toBuffer());
}

/** Dimensions, format and the mean brightness of the four corners, clockwise from the top left. */
export async function look(
  bytes: Buffer,
): Promise<{ format: string; width: number; height: number; corners: number[] }> {
  const { data, info } = await sharp(bytes).greyscale().raw().toBuffer({ resolveWithObject: true });
  const { format } = await sharp(bytes).metadata();
  const corner = (left: boolean, top: boolean): number => {
    const w = Math.floor(info.width / 10);
    const h = Math.floor(info.height / 10);
    let sum = 0;
    for (let y = 0; y < h; y++) {
      for (let x = 0; x < w; x++) {
        const column = left ? x : info.width - 1 - x;
        const row = top ? y : info.height - 1 - y;
        sum += data[(row * info.width + column) * info.channels] ?? 0;
      }
    }
    return sum / (w * h);
  };
  return {
    format,
    width: info.width,
    height: info.height,
    corners: [corner(true, true), corner(false, true), corner(false, false), corner(true, false)],
  };
}
