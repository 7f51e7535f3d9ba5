import { LRUCache } from 'lru-cache';
import { thumbHashToRGBA } from 'thumbhash';

import { encodePng } from '../../foundation/imaging/png.js';

export interface Placeholders {
  /** A small PNG in the colours of the picture, or a neutral grey when its thumbhash is not known. */
  of(thumbhash: Buffer | null): Buffer;
}

/** Some 2 KiB each; they are asked for in bursts, by the pages that show fresh uploads. */
const kept = 500;
/** A thumbhash without any detail: its header. */
const shortestHash = 5;

/** Makes placeholders out of thumbhashes; arithmetic only, no image library. */
export function createPlaceholders(): Placeholders {
  const cache = new LRUCache<string, Buffer>({ max: kept });
  const neutral = encodePng({ width: 1, height: 1, channels: 3, data: new Uint8Array([0xe5, 0xe5, 0xe5]) });
  return {
    of(thumbhash) {
      if (thumbhash === null || thumbhash.length < shortestHash) return neutral;
      const key = thumbhash.toString('base64');
      const known = cache.get(key);
      if (known) return known;
      const { w, h, rgba } = thumbHashToRGBA(thumbhash);
      const png = encodePng({ width: w, height: h, channels: 4, data: rgba });
      cache.set(key, png);
      return png;
    },
  };
}
