import type { Links } from './links.js';

/** Makes the URLs under which bytes are read. */
export interface Urls {
  /** For everybody, while the project is public; with `version` it may be cached for ever. */
  publicUrl(fileId: string, options: { readonly variant?: string; readonly version?: string }): string;
  /** For whoever has it, for a while. */
  signedUrl(fileId: string, options: { readonly variant?: string }): string;
}

/** @param base where clients reach the server, without a slash at the end. */
export function createUrls(base: string, links: Links): Urls {
  return {
    publicUrl(fileId, { variant, version }) {
      const query = [
        ...(variant === undefined ? [] : [`variant=${encodeURIComponent(variant)}`]),
        ...(version === undefined ? [] : [`v=${encodeURIComponent(version)}`]),
      ];
      const path = `${base}/files/${fileId}/content`;
      return query.length > 0 ? `${path}?${query.join('&')}` : path;
    },
    signedUrl: (fileId, { variant }) =>
      links.urlFor({ fileId, ...(variant === undefined ? {} : { variant }) }),
  };
}
