/** Output formats that variants can have. */
export const outputFormats = ['jpeg', 'png', 'webp', 'avif', 'gif'] as const;
export type OutputFormat = (typeof outputFormats)[number];
/** What people may ask for: `auto` is the best of some formats that the client can show, see `formats.ts`. */
export const askedFormats = [...outputFormats, 'auto'] as const;
export type AskedFormat = (typeof askedFormats)[number];

/**
 * How a picture is brought into a box; the words are CSS's object-fit, with sharp's `inside` and `outside`.
 *
 * | fit     | size of the result                             | the picture                                  |
 * |---------|------------------------------------------------|----------------------------------------------|
 * | cover   | the box                                        | fills it; what sticks out is cut             |
 * | contain | the box                                        | is whole; the rest is the background         |
 * | inside  | at most the box in both directions             | is whole                                     |
 * | outside | at least the box in both directions            | is whole                                     |
 * | fill    | the box                                        | is stretched to it                           |
 *
 * Unless `enlarge` is given no pixel is ever made up: where the picture is smaller than the box, `inside` and
 * `outside` give it as it is, `contain` pads it to the box, and for `cover` and `fill` the box shrinks in proportion
 * until the picture fills it (so its shape stays what was asked for). With one of width and height the other follows
 * from the picture's shape, and all five mean the same.
 */
export const fits = ['cover', 'contain', 'inside', 'outside', 'fill'] as const;
export type Fit = (typeof fits)[number];

/** Nine places of a box. */
export const places = [
  'center',
  'top',
  'bottom',
  'left',
  'right',
  'top-left',
  'top-right',
  'bottom-left',
  'bottom-right',
] as const;
export type Place = (typeof places)[number];

/**
 * What stays in view when `cover` cuts: a place; the part with the most edges, skin and colour (`attention`) or the
 * most information (`entropy`); or the focal point that was stored with the file, its middle without one.
 */
export const positions = [...places, 'attention', 'entropy', 'focal'] as const;
export type Position = (typeof positions)[number];

export const flips = ['horizontal', 'vertical', 'both'] as const;
export type Flip = (typeof flips)[number];

export const turns = [90, 180, 270] as const;
export type Turn = (typeof turns)[number];

/** A rectangle of the upright original, in its pixels. */
export interface Rectangle {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

/** Another picture laid over the result. */
export interface Watermark {
  /** A file of the same project. */
  readonly fileId: string;
  readonly position?: Place;
  /** 0 (not to be seen) to 1. */
  readonly opacity?: number;
  /** Its width as a part of the result's, 0.01 to 1. */
  readonly scale?: number;
}

/**
 * What a derived image is to be; stored as JSON in settings, variant rows and job payloads. Ranges, defaults and the
 * order in which the members act stand in `vocabulary.ts`.
 */
export interface Recipe {
  readonly crop?: Rectangle;
  readonly trim?: number;
  readonly rotate?: Turn;
  readonly flip?: Flip;
  /** Pixels of the box, after orientation, crop and rotation; at least one of the two is present. */
  readonly width?: number;
  readonly height?: number;
  /** Times width and height. */
  readonly dpr?: number;
  readonly fit: Fit;
  readonly position?: Position;
  readonly enlarge?: boolean;
  /** `#rrggbb` or `#rrggbbaa`. */
  readonly background?: string;
  readonly grayscale?: boolean;
  /** Standard deviation in pixels of the result. */
  readonly blur?: number;
  readonly sharpen?: number;
  readonly watermark?: Watermark;
  /** False: the first frame of an animation. `webp` and `gif` keep all frames otherwise; the others never do. */
  readonly animated?: boolean;
  readonly format: OutputFormat;
  readonly quality?: number;
  readonly effort?: number;
  readonly lossless?: boolean;
  readonly maxBytes?: number;
  readonly stripMetadata?: boolean;
  readonly keepIcc?: boolean;
}

/** A recipe as people write it: its format may be open until a client has said what it can show. */
export interface AskedRecipe extends Omit<Recipe, 'format'> {
  readonly format: AskedFormat;
}
