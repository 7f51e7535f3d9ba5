import type {
  ImagingErrorCode,
  PictureFacts,
  PictureSource,
  RenderedImage,
  RenderRequest,
  RenderResult,
} from './imaging.js';

/** Argument of a child that may open SVG. */
export const svgArgument = 'rasterize-svg';

/** What the parent and a child say to each other over the IPC channel (structured clone, so Buffers stay Buffers). */
export type Task =
  | { readonly kind: 'probe'; readonly source: PictureSource; readonly maxPixels: number }
  | {
      readonly kind: 'render';
      readonly path: string;
      readonly recipes: RenderRequest['recipes'];
      readonly focalPoint: RenderRequest['focalPoint'];
      readonly watermarks: RenderRequest['watermarks'];
      readonly outputFolder: string;
      readonly maxPixels: number;
      /** A longer file is refused before it is read into memory. */
      readonly maxBytes: number;
    };

/** What a finished task gives. */
export type TaskResult = PictureFacts | RenderResult;

export interface TaskFailure {
  readonly code: ImagingErrorCode;
  readonly message: string;
  readonly limit: number | undefined;
  readonly actual: number | undefined;
}

export type ChildMessage =
  /** Sent once, when sharp is loaded and restricted. */
  | { readonly kind: 'ready' }
  /** Sent before `done`, see `RenderRequest.onQuick`. */
  | { readonly kind: 'quick'; readonly images: readonly RenderedImage[] }
  | { readonly kind: 'done'; readonly result: TaskResult }
  | { readonly kind: 'failed'; readonly failure: TaskFailure };
