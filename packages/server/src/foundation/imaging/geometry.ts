import type { Place, Position, Recipe, Rectangle } from './recipe.js';

export interface Size {
  readonly width: number;
  readonly height: number;
}

/** A point as parts of width and height, 0 to 1 from the top left. */
export interface Point {
  readonly x: number;
  readonly y: number;
}

/** How one variant comes out of the picture, in pixels: stretched to `scaled`, then cut or padded to `size`. */
export interface Placement {
  readonly scaled: Size;
  readonly size: Size;
  /** Where the result's top left corner lies in the scaled picture; negative where the picture is padded. */
  readonly left: number;
  readonly top: number;
}

type Box = Pick<Recipe, 'width' | 'height' | 'dpr' | 'fit' | 'position' | 'enlarge'>;

const middle: Point = { x: 0.5, y: 0.5 };

/**
 * Sizes by the table in recipe.ts. What is found by looking at the pixels (`attention`, `entropy`) is placed in the
 * middle here.
 * @param picture after orientation, crop, trim and rotation.
 * @param focalPoint of that picture.
 */
export function place(picture: Size, box: Box, focalPoint: Point = middle): Placement {
  const times = box.dpr ?? 1;
  const width = pixels(box.width, times);
  const height = pixels(box.height, times);
  const most = box.enlarge === true ? Infinity : 1;
  if (width === undefined || height === undefined) {
    const ratio = Math.min(most, (width ?? Infinity) / picture.width, (height ?? Infinity) / picture.height);
    return whole(scale(picture, ratio));
  }
  const horizontal = width / picture.width;
  const vertical = height / picture.height;
  switch (box.fit) {
    case 'inside':
      return whole(scale(picture, Math.min(most, horizontal, vertical)));
    case 'outside':
      return whole(scale(picture, Math.min(most, Math.max(horizontal, vertical))));
    case 'fill':
      return whole(shrunkBox(picture, { width, height }, most));
    case 'contain': {
      const scaled = scale(picture, Math.min(most, horizontal, vertical));
      return {
        scaled,
        size: { width, height },
        ...cornerAt(scaled, { width, height }, box.position, middle),
      };
    }
    case 'cover': {
      const size = shrunkBox(picture, { width, height }, most);
      const ratio = Math.max(size.width / picture.width, size.height / picture.height);
      const exact = scale(picture, ratio);
      // Rounding must not leave a gap of one pixel beside the picture.
      const scaled = {
        width: Math.max(exact.width, size.width),
        height: Math.max(exact.height, size.height),
      };
      return { scaled, size, ...cornerAt(scaled, size, box.position, focalPoint) };
    }
  }
}

/**
 * The smallest size of the whole picture from which everything can be made without enlarging. Of each direction
 * the largest, and no common ratio: that would round to sizes that nobody wants, off by one.
 */
export function largest(sizes: readonly Size[]): Size {
  return {
    width: Math.max(1, ...sizes.map(({ width }) => width)),
    height: Math.max(1, ...sizes.map(({ height }) => height)),
  };
}

/**
 * The size of the whole picture at which a region of it has at least the size that is wanted of the region; no
 * larger than the picture.
 */
export function sizeFor(picture: Size, region: Size, wanted: Size): Size {
  return {
    width: sideFor(picture.width, region.width, wanted.width),
    height: sideFor(picture.height, region.height, wanted.height),
  };
}

function sideFor(picture: number, region: number, wanted: number): number {
  return picture === region
    ? Math.min(picture, wanted)
    : Math.min(picture, Math.ceil((picture / region) * wanted));
}

/** The part of a rectangle that lies in the picture; the whole picture for one that lies beside it. */
export function within(picture: Size, rectangle: Rectangle | undefined): Rectangle {
  const everything = { left: 0, top: 0, ...picture };
  if (!rectangle) return everything;
  const { left, top } = rectangle;
  const width = Math.min(left + rectangle.width, picture.width) - left;
  const height = Math.min(top + rectangle.height, picture.height) - top;
  return width > 0 && height > 0 ? { left, top, width, height } : everything;
}

/** The same rectangle in the picture at another size; at least a pixel, and inside. */
export function rescale(rectangle: Rectangle, from: Size, to: Size): Rectangle {
  const [left, right] = span(rectangle.left, rectangle.width, from.width, to.width);
  const [top, bottom] = span(rectangle.top, rectangle.height, from.height, to.height);
  return { left, top, width: right - left, height: bottom - top };
}

function span(start: number, length: number, from: number, to: number): [number, number] {
  const first = Math.min(to - 1, Math.round((start / from) * to));
  return [first, Math.max(first + 1, Math.min(to, Math.round(((start + length) / from) * to)))];
}

/** Width and height after turning. */
export function turned({ width, height }: Size, rotate: Recipe['rotate']): Size {
  return rotate === 90 || rotate === 270 ? { width: height, height: width } : { width, height };
}

/** Where a point of the picture lies after crop, rotation (clockwise) and mirroring; at the nearest edge when it was cut off. */
export function follow(
  point: Point,
  picture: Size,
  region: Rectangle,
  { rotate, flip }: Pick<Recipe, 'rotate' | 'flip'>,
): Point {
  const x = clamp((point.x * picture.width - region.left) / region.width);
  const y = clamp((point.y * picture.height - region.top) / region.height);
  const turnedPoint =
    rotate === 90
      ? { x: 1 - y, y: x }
      : rotate === 180
        ? { x: 1 - x, y: 1 - y }
        : rotate === 270
          ? { x: y, y: 1 - x }
          : { x, y };
  return {
    x: flip === 'horizontal' || flip === 'both' ? 1 - turnedPoint.x : turnedPoint.x,
    y: flip === 'vertical' || flip === 'both' ? 1 - turnedPoint.y : turnedPoint.y,
  };
}

/** Top left corner of something smaller laid into something larger, at one of the nine places. */
export function corner(outer: Size, inner: Size, at: Place): { readonly left: number; readonly top: number } {
  return {
    left: edge(outer.width - inner.width, /left/.test(at), /right/.test(at)),
    top: edge(outer.height - inner.height, /top/.test(at), /bottom/.test(at)),
  };
}

function edge(room: number, atStart: boolean, atEnd: boolean): number {
  return atStart ? 0 : atEnd ? room : Math.ceil(room / 2);
}

function cornerAt(
  scaled: Size,
  size: Size,
  position: Position = 'center',
  focalPoint: Point,
): { readonly left: number; readonly top: number } {
  switch (position) {
    case 'focal':
      return {
        left: focus(scaled.width, size.width, focalPoint.x),
        top: focus(scaled.height, size.height, focalPoint.y),
      };
    case 'attention':
    case 'entropy':
      return corner(scaled, size, 'center');
    default:
      return corner(scaled, size, position);
  }
}

/** The window's start with the point in its middle, as far as the picture reaches. */
function focus(scaled: number, size: number, at: number): number {
  return Math.max(0, Math.min(scaled - size, Math.round(at * scaled - size / 2)));
}

function clamp(part: number): number {
  return Math.max(0, Math.min(1, part));
}

function pixels(side: number | undefined, times: number): number | undefined {
  return side === undefined ? undefined : Math.max(1, Math.round(side * times));
}

function scale(picture: Size, ratio: number): Size {
  return {
    width: Math.max(1, Math.round(picture.width * ratio)),
    height: Math.max(1, Math.round(picture.height * ratio)),
  };
}

function shrunkBox(picture: Size, box: Size, most: number): Size {
  return scale(box, Math.min(1, (picture.width / box.width) * most, (picture.height / box.height) * most));
}

function whole(size: Size): Placement {
  return { scaled: size, size, left: 0, top: 0 };
}
