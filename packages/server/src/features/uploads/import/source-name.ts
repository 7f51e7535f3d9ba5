import { filenameOf } from '../../../foundation/http/part-headers.js';
import type { Download } from '../../../foundation/http/outbound/outbound.js';
import { Problem } from '../../../foundation/problems.js';

/** What a source calls the file: by Content-Disposition, else by the path of the URL, the one that was asked for first. */
export function sourceName({ header, url }: Pick<Download, 'header' | 'url'>, asked: URL): string {
  return disposedName(header('content-disposition')) || lastOf(asked) || lastOf(url) || 'file';
}

function disposedName(field: string | undefined): string | undefined {
  if (field === undefined) return undefined;
  try {
    return filenameOf(field);
  } catch (error) {
    if (error instanceof Problem) return undefined;
    throw error;
  }
}

function lastOf({ pathname }: URL): string {
  const last = pathname.split('/').at(-1) ?? '';
  try {
    return decodeURIComponent(last);
  } catch {
    // Percent signs that encode nothing stand for themselves.
    return last;
  }
}
