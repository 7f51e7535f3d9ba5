/** True for `https://app.example.com`, as browsers send it: no path, no default port, lower case (RFC 6454 §6.2). */
export function isOrigin(text: string): boolean {
  if (!/^https?:\/\/[^/\s]+$/.test(text) || !URL.canParse(text)) return false;
  return new URL(text).origin === text;
}
