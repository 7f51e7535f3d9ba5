/** Output formats that variants can have. */
export const outputFormats = ['jpeg', 'png', 'webp', 'avif', 'gif'] as const;
export type OutputFormat = (typeof outputFormats)[number];

/**
 * How a picture is brought into a box; the words are CSS's object-fit, with sharp's `inside` and `outside`.
 *
 * | fit     | size of the result                             | the picture                                  |
 * |---------|------------------------------------------------|----------------------------------------------|
 * | cover   | the box                                        | fills it; what sticks out is cut, centred    |
 * | contain | the box                                        | is whole; the rest is transparent, or white  |
 * | inside  | at most the box in both directions             | is whole                                     |
 * | outside | at least the box in both directions            | is whole                                     |
 * | fill    | the box                                        | is stretched to it                           |
 *
 * No pixel is ever made up: a picture is not enlarged. Where it is smaller than the box, `inside` and `outside` give
 * the picture as it is, `contain` pads it to the box, and for `cover` and `fill` the box shrinks in proportion until
 * the picture fills it (so its shape stays what was asked for). With one of width and height the other follows from
 * the picture's shape, and all five mean the same.
 */
export const fits = ['cover', 'contain', 'inside', 'outside', 'fill'] as const;
export type Fit = (typeof fits)[number];

/** What a derived image is to be; stored as JSON in settings, variant rows and job payloads. */
export interface Recipe {
  /** Pixels of the box, after orientation; at least one of the two is present. */
  readonly width?: number;
  readonly height?: number;
  readonly fit: Fit;
  /** `webp` and `gif` keep the frames of an animation; the others show its first. */
  readonly format: OutputFormat;
  /** 1–100; the format's measured default when absent. PNG and GIF lose nothing by it and ignore it. */
  readonly quality?: number;
}
