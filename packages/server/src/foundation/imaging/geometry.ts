import type { Recipe } from './recipe.js';

export interface Size {
  readonly width: number;
  readonly height: number;
}

/** How one variant comes out of the whole picture, in pixels: stretched to `scaled`, then cut or padded to `size`. */
export interface Placement {
  readonly scaled: Size;
  readonly size: Size;
  /** Where the result's top left corner lies in the scaled picture; negative where the picture is padded. */
  readonly left: number;
  readonly top: number;
}

/** Sizes by the table in recipe.ts; `picture` is after orientation. Never enlarges. */
export function place(picture: Size, recipe: Pick<Recipe, 'width' | 'height' | 'fit'>): Placement {
  const { width, height } = recipe;
  if (width === undefined || height === undefined) {
    const ratio = Math.min(1, (width ?? Infinity) / picture.width, (height ?? Infinity) / picture.height);
    return whole(scale(picture, ratio));
  }
  const horizontal = width / picture.width;
  const vertical = height / picture.height;
  switch (recipe.fit) {
    case 'inside':
      return whole(scale(picture, Math.min(1, horizontal, vertical)));
    case 'outside':
      return whole(scale(picture, Math.min(1, Math.max(horizontal, vertical))));
    case 'fill':
      return whole(shrunkBox(picture, { width, height }));
    case 'contain':
      return centred(scale(picture, Math.min(1, horizontal, vertical)), { width, height });
    case 'cover': {
      const size = shrunkBox(picture, { width, height });
      const ratio = Math.max(size.width / picture.width, size.height / picture.height);
      const scaled = scale(picture, ratio);
      // Rounding must not leave a gap of one pixel beside the picture.
      return centred(
        { width: Math.max(scaled.width, size.width), height: Math.max(scaled.height, size.height) },
        size,
      );
    }
  }
}

/**
 * The smallest size of the whole picture from which all placements can be made without enlarging. Of each direction
 * the largest, and no common ratio: that would round to sizes that nobody wants, off by one.
 */
export function neededSize(placements: readonly Placement[]): Size {
  return {
    width: Math.max(1, ...placements.map(({ scaled }) => scaled.width)),
    height: Math.max(1, ...placements.map(({ scaled }) => scaled.height)),
  };
}

function scale(picture: Size, ratio: number): Size {
  return {
    width: Math.max(1, Math.round(picture.width * ratio)),
    height: Math.max(1, Math.round(picture.height * ratio)),
  };
}

function shrunkBox(picture: Size, box: Size): Size {
  return scale(box, Math.min(1, picture.width / box.width, picture.height / box.height));
}

function whole(size: Size): Placement {
  return { scaled: size, size, left: 0, top: 0 };
}

function centred(scaled: Size, size: Size): Placement {
  return {
    scaled,
    size,
    left: Math.ceil((scaled.width - size.width) / 2),
    top: Math.ceil((scaled.height - size.height) / 2),
  };
}
