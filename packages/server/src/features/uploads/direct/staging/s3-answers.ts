import { Problem } from '../../../../foundation/problems.js';
import type { Part } from '../../../../foundation/blobs/blob-store.js';

/** What S3 answers to the requests of a multipart upload, as far as clients that speak it read (API reference, 2006-03-01). */
export const xmlType = 'application/xml; charset=utf-8';
const head = '<?xml version="1.0" encoding="UTF-8"?>\n';
const space = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"';
/** What stands where S3 names its bucket. */
const bucket = 'mediablobkit';

export function begunAnswer(key: string, multipartId: string): string {
  return `${head}<InitiateMultipartUploadResult ${space}><Bucket>${bucket}</Bucket><Key>${escapeXml(key)}</Key><UploadId>${escapeXml(multipartId)}</UploadId></InitiateMultipartUploadResult>`;
}

export function partsAnswer(key: string, multipartId: string, parts: readonly Part[]): string {
  const list = parts.map(
    ({ number, size, etag }) =>
      `<Part><PartNumber>${number}</PartNumber><ETag>${escapeXml(quoted(etag))}</ETag><Size>${size}</Size></Part>`,
  );
  return `${head}<ListPartsResult ${space}><Bucket>${bucket}</Bucket><Key>${escapeXml(key)}</Key><UploadId>${escapeXml(multipartId)}</UploadId><IsTruncated>false</IsTruncated>${list.join('')}</ListPartsResult>`;
}

export function completedAnswer(key: string, location: string, etag: string): string {
  return `${head}<CompleteMultipartUploadResult ${space}><Location>${escapeXml(location)}</Location><Bucket>${bucket}</Bucket><Key>${escapeXml(key)}</Key><ETag>${escapeXml(quoted(etag))}</ETag></CompleteMultipartUploadResult>`;
}

export function quoted(etag: string): string {
  return etag.startsWith('"') ? etag : `"${etag}"`;
}

const part =
  /^\s*<Part>\s*(?:<PartNumber>\s*(\d{1,5})\s*<\/PartNumber>\s*<ETag>([^<]{1,256})<\/ETag>|<ETag>([^<]{1,256})<\/ETag>\s*<PartNumber>\s*(\d{1,5})\s*<\/PartNumber>)\s*<\/Part>/;

/**
 * Reads the body of CompleteMultipartUpload. Not XML at large but the one shape that clients send: no entities
 * besides quotes, no attributes besides the name space, nothing to expand.
 * @throws Problem `malformed-body`.
 */
export function readCompletion(body: string): readonly { readonly number: number; readonly etag: string }[] {
  const inside =
    /^\s*(?:<\?xml[^>]{0,100}\?>)?\s*<CompleteMultipartUpload(?: xmlns="[^"<>]{1,100}")?>([\s\S]*)<\/CompleteMultipartUpload>\s*$/.exec(
      body,
    )?.[1];
  if (inside === undefined) throw malformed();
  const parts: { number: number; etag: string }[] = [];
  let rest = inside;
  while (rest.trim() !== '') {
    const found = part.exec(rest);
    if (!found) throw malformed();
    const etag = (found[2] ?? found[3] ?? '').replace(/&quot;|&#34;|"/g, '').trim();
    parts.push({ number: Number(found[1] ?? found[4]), etag });
    rest = rest.slice(found[0].length);
  }
  return parts;
}

function malformed(): Problem {
  return new Problem('malformed-body', { detail: 'The body is no CompleteMultipartUpload.' });
}

function escapeXml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');
}
