import sharp, { type Metadata } from 'sharp';

import { ImagingError, inputFormats, type InputFormat, type PictureFacts } from './imaging.js';
import { readWebpHead } from './webp-head.js';

/** What a header tells, beside the facts what a decode needs to know. */
export interface Header {
  readonly facts: PictureFacts;
  readonly metadata: Metadata;
}

/**
 * Reads a whole picture's header without decoding it and refuses what must not be decoded: other formats, broken headers,
 * more than `maxPixels` of width × height × frames. Runs in a child process.
 * @throws ImagingError `unsupported-codec`, `corrupt-image`, `too-many-pixels`.
 */
export async function readHeader(bytes: Buffer, maxPixels: number): Promise<Header> {
  const metadata = await readMetadata(bytes, maxPixels);
  const facts = factsOf(metadata);
  refuseTooManyPixels(facts, maxPixels);
  return { facts, metadata };
}

/**
 * The same for the beginning of a file whose rest is still to come.
 * @throws ImagingError also `header-incomplete`, when the header goes on after these bytes.
 */
export async function readHead(bytes: Buffer, maxPixels: number): Promise<PictureFacts> {
  // libwebp reads no header of a cut file, although 30 bytes tell the size.
  const facts = signatureOf(bytes) === 'webp' ? readWebpHead(bytes) : await readCutHead(bytes, maxPixels);
  if (!facts) throw new ImagingError('header-incomplete', 'The picture’s header goes on after these bytes.');
  refuseTooManyPixels(facts, maxPixels);
  return facts;
}

async function readCutHead(bytes: Buffer, maxPixels: number): Promise<PictureFacts | undefined> {
  try {
    return factsOf(await readMetadata(bytes, maxPixels));
  } catch (error) {
    // Whether a header is damaged or only cut, its end will tell.
    if (error instanceof ImagingError && error.code === 'corrupt-image') return undefined;
    throw error;
  }
}

async function readMetadata(bytes: Buffer, limit: number): Promise<Metadata> {
  try {
    // The limit is checked below: sharp's own check would not say how many pixels there are.
    return await sharp(bytes, { limitInputPixels: false }).metadata();
  } catch (cause) {
    // libvips gives up on a JPEG of more than 65,500 pixels in a direction before it tells how many.
    if (cause instanceof Error && /maximum supported image dimension/i.test(cause.message)) {
      throw new ImagingError('too-many-pixels', 'The picture is over 65,500 pixels wide or high.', {
        limit,
        cause,
      });
    }
    // An SVG has no signature; where it is not allowed, no loader comes to the point of complaining of its text.
    const format = isBrokenXml(cause) ? 'svg' : signatureOf(bytes);
    throw format
      ? new ImagingError('corrupt-image', `The header of this ${format} picture is damaged.`, { cause })
      : new ImagingError('unsupported-codec', 'Pictures of this type cannot be decoded here.', { cause });
  }
}

function factsOf(metadata: Metadata): PictureFacts {
  // HEIC and AVIF share a container and a loader; only AV1 has a decoder in it.
  const format = metadata.format === 'heif' && metadata.compression === 'av1' ? 'avif' : metadata.format;
  if (!isInputFormat(format)) {
    throw new ImagingError('unsupported-codec', `Pictures of type ${format} cannot be decoded here.`);
  }
  const { width, height } = metadata.autoOrient;
  if (!(width > 0 && height > 0)) {
    throw new ImagingError('corrupt-image', `A picture of ${width} × ${height} pixels cannot be.`);
  }
  const animated = format === 'gif' || format === 'webp';
  return {
    format,
    width,
    height,
    frames: animated ? (metadata.pages ?? 1) : 1,
    hasAlpha: metadata.hasAlpha,
    orientation: metadata.orientation ?? 1,
  };
}

function refuseTooManyPixels({ width, height, frames }: PictureFacts, limit: number): void {
  const actual = width * height * frames;
  if (actual <= limit) return;
  const times = frames > 1 ? ` × ${frames} frames` : '';
  throw new ImagingError(
    'too-many-pixels',
    `The picture has ${width} × ${height}${times} = ${actual} pixels; ${limit} are allowed.`,
    { limit, actual },
  );
}

function isInputFormat(format: string): format is InputFormat {
  return inputFormats.some((known) => known === format);
}

function isBrokenXml(cause: unknown): boolean {
  return cause instanceof Error && /corrupt header: (glib: XML|svgload)/.test(cause.message);
}

/** Which decodable format a file claims to be, to tell a broken picture from one that nobody here reads. */
function signatureOf(bytes: Buffer): InputFormat | undefined {
  const start = bytes.toString('latin1', 0, 16);
  if (start.startsWith('\xff\xd8\xff')) return 'jpeg';
  if (start.startsWith('\x89PNG\r\n\x1a\n')) return 'png';
  if (/^GIF8[79]a/.test(start)) return 'gif';
  if (/^RIFF[^]{4}WEBP/.test(start)) return 'webp';
  if (/^[^]{4}ftypavi[fs]/.test(start)) return 'avif';
  return undefined;
}
