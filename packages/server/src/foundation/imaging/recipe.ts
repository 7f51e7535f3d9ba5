/** Output formats that variants can have. */
export const outputFormats = ['jpeg', 'png', 'webp', 'avif', 'gif'] as const;
export type OutputFormat = (typeof outputFormats)[number];

/** How a picture is brought into a box; the words are CSS's object-fit, with sharp's `inside` and `outside`. */
export const fits = ['cover', 'contain', 'inside', 'outside', 'fill'] as const;
export type Fit = (typeof fits)[number];

/** What a derived image is to be; stored as JSON in settings, variant rows and job payloads. */
export interface Recipe {
  /** Pixels; at least one of the two is present. */
  readonly width?: number;
  readonly height?: number;
  readonly fit: Fit;
  readonly format: OutputFormat;
  /** 1–100; the format's measured default when absent. */
  readonly quality?: number;
}
