import type { Links } from './links.js';

export interface PublicUrlOptions {
  readonly variant?: string;
  readonly download?: string;
  readonly version?: string;
}

/** Makes the URLs under which bytes are read. */
export interface Urls {
  /** For everybody, while the project is public; with `version` it may be cached for ever. */
  publicUrl(fileId: string, options: PublicUrlOptions): string;
  /** For whoever has it, for a while. */
  signedUrl(fileId: string, options: { readonly variant?: string }): string;
}

export interface UrlBases {
  /** Where clients reach the server, without a slash at the end. */
  readonly base: string;
  /** Where they reach public files by way of a CDN; the server itself when undefined. */
  readonly cdn?: string | undefined;
}

export function createUrls({ base, cdn = base }: UrlBases, links: Links): Urls {
  return {
    publicUrl(fileId, { variant, download, version }) {
      const query = Object.entries({ variant, download, v: version }).flatMap(([name, value]) =>
        value === undefined ? [] : [`${name}=${encodeURIComponent(value)}`],
      );
      const path = `${cdn}/files/${fileId}/content`;
      return query.length > 0 ? `${path}?${query.join('&')}` : path;
    },
    signedUrl: (fileId, { variant }) =>
      links.urlFor({ fileId, ...(variant === undefined ? {} : { variant }) }),
  };
}
