/**
 * The refresh token of browsers: a cookie that scripts cannot read and other sites cannot cause to be sent.
 */
export interface RefreshCookie {
  /** The refresh token among the request's cookies. */
  read(cookieHeader: string | undefined): string | undefined;
  /** `Set-Cookie` that keeps the token as long as it works. */
  keep(token: string): string;
  /** `Set-Cookie` that removes it. */
  remove(): string;
  /** True when the request was made by a page of this very server. */
  isOwnPage(headers: { readonly origin?: string | undefined; readonly host?: string | undefined }): boolean;
}

export interface RefreshCookieOptions {
  readonly publicUrl: string;
  readonly lifetimeSeconds: number;
}

export function createRefreshCookie({ publicUrl, lifetimeSeconds }: RefreshCookieOptions): RefreshCookie {
  const own = new URL(publicUrl);
  const secure = own.protocol === 'https:';
  // The prefix makes browsers insist on Secure, Path=/ and no Domain (RFC 6265bis §4.1.3.2). Over plain http
  // they would refuse such a cookie.
  const name = secure ? '__Host-mbk_refresh' : 'mbk_refresh';
  const attributes = `Path=/; HttpOnly; SameSite=Strict${secure ? '; Secure' : ''}`;
  return {
    read(cookieHeader) {
      for (const pair of (cookieHeader ?? '').split(';')) {
        const [key, value] = pair.trim().split('=', 2);
        if (key === name) return value;
      }
      return undefined;
    },
    keep: (token) => `${name}=${token}; Max-Age=${lifetimeSeconds}; ${attributes}`,
    remove: () => `${name}=; Max-Age=0; ${attributes}`,
    isOwnPage({ origin, host }) {
      if (origin === undefined || !URL.canParse(origin)) return false;
      const from = new URL(origin);
      // Cookies belong to a host: a page whose origin is the host that was asked is the cookie's own, also
      // when somebody reaches the server as 127.0.0.1 and not by its public URL.
      return from.origin === own.origin || (from.protocol === own.protocol && from.host === host);
    },
  };
}
