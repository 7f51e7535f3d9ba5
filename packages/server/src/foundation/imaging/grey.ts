import { openRaw, type Intermediate } from './decode.js';

/**
 * Leaves the colours out; alpha and the number of channels stay. By itself and not as a step of a longer pipeline: of
 * what sharp has made grey, its raw output is the first channel only, without the transparency and without the colours
 * of what was laid over it since.
 */
export async function greyed(picture: Intermediate): Promise<Intermediate> {
  const { channels } = picture;
  if (channels < 3) return picture;
  const grey = await openRaw(picture).removeAlpha().grayscale().raw().toBuffer();
  const data = Buffer.from(picture.data);
  for (let i = 0, at = 0; i < grey.length; i++, at += channels) {
    const value = grey[i] ?? 0;
    data[at] = value;
    data[at + 1] = value;
    data[at + 2] = value;
  }
  return { ...picture, data };
}
