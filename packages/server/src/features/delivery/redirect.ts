import type { Clock } from '../../foundation/clock.js';
import type { ProjectSettings } from '../projects/settings.js';
import { nothing, type ContentAnswer } from './answers.js';
import type { ContentRequest } from './content-request.js';
import { presignWindowSeconds, type PresignedUrls, type PresignWish } from './presigned.js';
import type { Source, Visibility } from './source.js';

export interface RedirectOptions {
  readonly clock: Clock;
  /** How projects whose delivery mode is `auto` are served. */
  readonly mode: ProjectSettings['delivery']['mode'];
  readonly presigned: PresignedUrls;
  /** A CDN stands in front: what is public is sent by us, so that it can be kept there. */
  readonly behindCdn: boolean;
}

/**
 * Whether a GET may be sent to the store: when the project or the server wants that and the store can. A HEAD is answered
 * here: a URL presigned for GET refuses it.
 */
export function mayRedirect(
  options: RedirectOptions,
  { method }: Pick<ContentRequest, 'method'>,
  { delivery }: ProjectSettings,
  visibility: Visibility,
): boolean {
  const mode = delivery.mode === 'auto' ? options.mode : delivery.mode;
  if (mode === 'proxy' || method === 'HEAD' || options.presigned.none) return false;
  return !options.behindCdn || visibility === 'private';
}

/** Undefined when the store signs nothing. */
export async function redirectTo(
  { clock, presigned }: RedirectOptions,
  source: Source,
  wish: PresignWish,
  { delivery }: ProjectSettings,
  visibility: Visibility,
): Promise<ContentAnswer | undefined> {
  const now = clock.now() / 1000;
  const signed = await presigned.urlFor(source, wish, now);
  if (!signed) return undefined;
  // Nobody keeps the way for longer than the window, nor than it leads anywhere.
  const windowEnd = (Math.floor(now / presignWindowSeconds) + 1) * presignWindowSeconds;
  const left = Math.max(0, Math.floor(Math.min(windowEnd, signed.until) - now));
  const keep = Math.min(left, delivery.cacheSeconds);
  return {
    status: 302,
    headers: { location: signed.url, 'cache-control': `${visibility}, max-age=${keep}` },
    body: nothing,
  };
}
