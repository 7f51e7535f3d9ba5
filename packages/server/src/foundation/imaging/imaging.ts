import type { OutputFormat, Recipe } from './recipe.js';

/** Formats that are decoded here, SVG only where it is allowed; everything else is `unsupported-codec`. */
export const inputFormats = ['jpeg', 'png', 'webp', 'gif', 'avif', 'svg'] as const;
export type InputFormat = (typeof inputFormats)[number];

/** What the header of a picture tells. */
export interface PictureFacts {
  readonly format: InputFormat;
  /** Pixels after orientation; of one frame. Of an SVG the size that it gives itself, 72 pixels to the inch. */
  readonly width: number;
  readonly height: number;
  /** Frames of an animation, 1 for a still. */
  readonly frames: number;
  readonly hasAlpha: boolean;
  /** EXIF orientation 1–8 as stored (1 when absent). */
  readonly orientation: number;
}

/**
 * A picture to look at: a file on the local disk, or the first bytes of one whose rest is still arriving. With
 * `complete: false`, what stands behind the head is unknown: the frames of an animation count as far as they
 * are seen, and a WebP's orientation counts as 1.
 */
export type PictureSource =
  { readonly path: string } | { readonly bytes: Buffer; readonly complete: boolean };

/** One picture that a render made. */
export interface RenderedImage {
  readonly name: string;
  /** Absolute path of the finished file in the caller's folder. */
  readonly path: string;
  readonly format: OutputFormat;
  readonly mimeType: string;
  /** Pixels; of one frame. */
  readonly width: number;
  readonly height: number;
  /** Bytes. */
  readonly size: number;
  /** SHA-256 of the file, 32 bytes. */
  readonly sha256: Buffer;
}

export interface RenderRequest {
  /** The original, whole, on the local disk; read once into memory by the child. */
  readonly path: string;
  /** Names are unique, `^[a-z0-9-]+$`: they become file names in the output folder. */
  readonly recipes: readonly { readonly name: string; readonly recipe: Recipe }[];
  /** What `position: focal` keeps in view, as parts of width and height of the upright picture; its middle when absent. */
  readonly focalPoint?: { readonly x: number; readonly y: number } | undefined;
  /** Where the pictures of watermarks lie on the local disk, by the ids in the recipes. */
  readonly watermarks?: Readonly<Record<string, string>> | undefined;
  /** Existing empty folder that receives the outputs; the caller removes it, whether the render succeeds or not. */
  readonly outputFolder: string;
  /**
   * Told once, while slow formats are still being encoded, of what is finished: quick formats come first, so that a page
   * has something to show early. Not called when there is nothing slow, or nothing else.
   */
  readonly onQuick?: ((images: readonly RenderedImage[]) => void) | undefined;
  /** Kills the child that works on it; the render then rejects with `aborted`. */
  readonly signal?: AbortSignal;
}

export interface RenderResult {
  readonly facts: PictureFacts;
  /** ThumbHash, 5–25 bytes; see `thumbhash` on npm. */
  readonly thumbhash: Buffer;
  /** `#rrggbb`: the mean of the commonest colours. */
  readonly dominantColor: string;
  readonly exif: ExifFacts | null;
  /** Quick ones first, without those that failed; all variants come from one decode. */
  readonly images: readonly RenderedImage[];
  /** Variants whose recipe cannot be followed, while the picture itself is well. */
  readonly failures: readonly {
    readonly name: string;
    readonly code: ImagingErrorCode;
    readonly detail: string;
  }[];
}

/**
 * The harmless subset of EXIF, each member where the camera wrote it; never a position, a serial number or a name.
 * Texts are at most 100 characters without control characters.
 */
export interface ExifFacts {
  readonly cameraMake?: string;
  readonly cameraModel?: string;
  readonly lens?: string;
  readonly exposureSeconds?: number;
  readonly fNumber?: number;
  readonly iso?: number;
  readonly focalLengthMm?: number;
  /** `2024-05-17T09:30:15`, with the offset only when the camera knew it. */
  readonly takenAt?: string;
}

/**
 * Decodes and encodes pictures in child processes that can be killed; the caller's process never decodes. All
 * failures are `ImagingError`. A promise settles only when no child works on its picture any more.
 */
export interface Imaging {
  /**
   * Reads the header only (about 1 ms beside the way to the child) and refuses what a render would refuse by it:
   * `too-many-pixels`, `unsupported-codec`, `corrupt-image`; `header-incomplete` when the head ends too early. A
   * JPEG's dimensions may stand behind megabytes of ICC and EXIF, so ask again with more; 4 KiB are enough for
   * most, 256 KiB for nearly all.
   */
  probe(source: PictureSource, signal?: AbortSignal): Promise<PictureFacts>;
  render(request: RenderRequest): Promise<RenderResult>;
  /** Kills the children; what is waiting or running rejects with `aborted`. */
  close(): Promise<void>;
}

export type ImagingErrorCode =
  | 'unsupported-codec' // no loader for this type, or one that is blocked
  | 'corrupt-image' // the decoder refused the bytes
  | 'too-many-pixels' // width × height × frames over the limit: `limit` and `actual` tell
  | 'header-incomplete' // the head given to a probe ends before the dimensions
  | 'watermark-unusable' // the picture to be laid over one variant was not handed over, or cannot be decoded
  | 'decoder-timeout' // killed at the wall-clock limit: `limit` in milliseconds
  | 'decoder-memory' // killed at the memory ceiling: `limit` and `actual` in bytes
  | 'decoder-crashed' // the child ended by itself, or something failed that is not the picture's fault
  | 'overloaded' // too many are waiting already: `limit`
  | 'aborted'; // the caller's signal, or the pool is closed

export interface ImagingErrorOptions extends ErrorOptions {
  readonly limit?: number;
  readonly actual?: number;
}

/** Why a picture cannot be probed or rendered; the message is a sentence for a person. */
export class ImagingError extends Error {
  override readonly name = 'ImagingError';
  readonly code: ImagingErrorCode;
  /** The number that may not be passed, and the one that was met; units stand at the codes. */
  readonly limit: number | undefined;
  readonly actual: number | undefined;

  constructor(code: ImagingErrorCode, message: string, options: ImagingErrorOptions = {}) {
    super(message, options);
    this.code = code;
    this.limit = options.limit;
    this.actual = options.actual;
  }

  /** True when the fault is the picture's own, so that trying again cannot help. */
  get permanent(): boolean {
    return (
      this.code === 'unsupported-codec' || this.code === 'corrupt-image' || this.code === 'too-many-pixels'
    );
  }
}
