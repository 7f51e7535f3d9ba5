import type { Recipe, OutputFormat } from './recipe.js';

/** What the header (and, after a render, the decode) of a picture tells. */
export interface PictureFacts {
  /** Loader's name: jpeg, png, webp, gif, avif. */
  readonly format: string;
  /** Pixels after orientation. */
  readonly width: number;
  readonly height: number;
  /** Frames of an animation, 1 for a still. */
  readonly frames: number;
  readonly hasAlpha: boolean;
  /** EXIF orientation 1–8 as stored (1 when absent). */
  readonly orientation: number;
}

/** One picture that a render made. */
export interface RenderedImage {
  readonly name: string;
  /** Absolute path of the finished file in the caller's folder. */
  readonly path: string;
  readonly format: OutputFormat;
  readonly mimeType: string;
  readonly width: number;
  readonly height: number;
  readonly size: number;
  /** SHA-256 of the file, 32 bytes. */
  readonly sha256: Buffer;
}

export interface RenderRequest {
  /** The original, whole, on the local disk; read once into memory by the child. */
  readonly path: string;
  readonly recipes: readonly { readonly name: string; readonly recipe: Recipe }[];
  /** Existing empty folder that receives the outputs; the caller removes it. */
  readonly outputFolder: string;
  readonly signal?: AbortSignal;
}

export interface RenderResult {
  readonly facts: PictureFacts;
  /** ThumbHash, about 21 bytes; see `thumbhash` on npm. */
  readonly thumbhash: Buffer;
  /** `#rrggbb`. */
  readonly dominantColor: string;
  /** A harmless subset of EXIF; never a position. */
  readonly exif: Readonly<Record<string, string | number>> | null;
  /** In the order of the request; all variants come from one decode. */
  readonly images: readonly RenderedImage[];
}

/** Decodes and encodes pictures in child processes that can be killed; the caller's process never decodes. */
export interface Imaging {
  /** Reads the header only. The bytes are the file's beginning or the whole file. */
  probe(path: string, signal?: AbortSignal): Promise<PictureFacts>;
  render(request: RenderRequest): Promise<RenderResult>;
  close(): Promise<void>;
}

/**
 * Why a picture cannot be rendered. `permanent` failures are the picture's own (trying again cannot help);
 * the others may have been bad luck (a killed child).
 */
export class ImagingError extends Error {
  override readonly name = 'ImagingError';
  readonly code: ImagingErrorCode;
  constructor(code: ImagingErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
  get permanent(): boolean {
    return this.code === 'unsupported-codec' || this.code === 'corrupt-image' || this.code === 'too-many-pixels';
  }
}

export type ImagingErrorCode =
  | 'unsupported-codec' // no loader for this type, or one that is blocked
  | 'corrupt-image' // the decoder refused the bytes
  | 'too-many-pixels' // width × height × frames over the limit
  | 'decoder-timeout' // killed at the wall-clock limit
  | 'decoder-memory' // killed at the memory ceiling
  | 'decoder-crashed' // the child ended by itself
  | 'aborted'; // the caller's signal
