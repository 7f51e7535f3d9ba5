import sharp, { type OverlayOptions } from 'sharp';

import type { Seen } from '../fixtures/looking.js';

/** A picture of the sheet, `name` above it; `old` stands at its left when it is another. */
export interface SheetCell {
  readonly name: string;
  readonly seen: Seen;
  readonly old?: Seen | undefined;
}

const columns = 8;
const cellWidth = 208;
const cellHeight = 224;
const captionHeight = 16;

/**
 * Lays pictures out on a grid with their names, on grey, so that white edges and transparency show.
 * @returns a PNG.
 */
export async function contactSheet(cells: readonly SheetCell[]): Promise<Buffer> {
  const overlays = await Promise.all(cells.map((cell, i) => overlaysOf(cell, i)));
  return sharp({
    create: {
      width: columns * cellWidth,
      height: Math.ceil(cells.length / columns) * cellHeight,
      channels: 3,
      background: '#b8b8b8',
    },
  })
    .composite(overlays.flat())
    .png({ compressionLevel: 9 })
    .toBuffer();
}

async function overlaysOf({ name, seen, old }: SheetCell, index: number): Promise<OverlayOptions[]> {
  const left = (index % columns) * cellWidth;
  const top = Math.floor(index / columns) * cellHeight;
  const caption = await sharp({ text: { text: name, dpi: 80, width: cellWidth - 4, rgba: true } })
    .png()
    .toBuffer();
  const pictures = old ? [old, seen] : [seen];
  return [
    ...pictures.map((picture, i) => ({
      input: picture.rgba,
      raw: { width: picture.width, height: picture.height, channels: 4 as const },
      left: left + 4 + (i * cellWidth) / 2,
      top: top + captionHeight + 4,
    })),
    { input: caption, left: left + 4, top: top + 4 },
  ];
}
