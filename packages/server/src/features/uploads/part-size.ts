const mebibyte = 1024 * 1024;
/** The size of the other puts in parts. */
const smallestPart = 8 * mebibyte;
const mostParts = 10_000;

/**
 * Bytes of each part but the last of a file: as small as 10,000 of them allow, in whole MiB. All are equal, as R2 wants.
 * @param size of the file; null when it is not known, and then it may have 78 GiB.
 */
export function partBytesFor(size: number | null): number {
  return Math.max(smallestPart, Math.ceil((size ?? 0) / mostParts / mebibyte) * mebibyte);
}
