import type { PictureFacts } from './imaging.js';

/**
 * Canvas and transparency of a WebP from its first 30 bytes: the VP8X chunk of the extended format (RFC 9649 §2.7),
 * or the header of the only bitstream (RFC 6386 §9.1; lossless: RFC 9649 §3.4). Frames and orientation stand
 * further behind and are given as 1. Undefined when the bytes are too few or no such chunk follows.
 */
export function readWebpHead(bytes: Buffer): PictureFacts | undefined {
  if (bytes.length < 30) return undefined;
  switch (bytes.toString('latin1', 12, 16)) {
    case 'VP8 ':
      return facts(bytes.readUInt16LE(26) & 0x3fff, bytes.readUInt16LE(28) & 0x3fff, false);
    case 'VP8L': {
      const packed = bytes.readUInt32LE(21);
      return facts((packed & 0x3fff) + 1, ((packed >>> 14) & 0x3fff) + 1, ((packed >>> 28) & 1) === 1);
    }
    case 'VP8X': {
      const alphaFlag = 0x10;
      return facts(
        bytes.readUIntLE(24, 3) + 1,
        bytes.readUIntLE(27, 3) + 1,
        (bytes.readUInt8(20) & alphaFlag) !== 0,
      );
    }
    default:
      return undefined;
  }
}

function facts(width: number, height: number, hasAlpha: boolean): PictureFacts {
  return { format: 'webp', width, height, frames: 1, hasAlpha, orientation: 1 };
}
