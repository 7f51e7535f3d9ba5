import { ListObjectsV2Command, type S3Client } from '@aws-sdk/client-s3';
import { StoreUnavailable, type BlobStat } from './blob-store.js';
import { s3Error } from './s3-errors.js';
import { compareKeys, isKey } from './keys.js';

/**
 * Pages through a listing, one page of 1,000 in memory. Keys come URL-encoded where the server can do so, because
 * a stray key with a control character would make its XML unreadable.
 */
export async function* listObjects(
  client: S3Client,
  bucket: string,
  { prefix, after }: { readonly prefix: string; readonly after?: string },
): AsyncGenerator<BlobStat> {
  let token: string | undefined;
  let previous = after;
  do {
    let page;
    try {
      page = await client.send(
        new ListObjectsV2Command({
          Bucket: bucket,
          Prefix: prefix,
          EncodingType: 'url',
          ...(token === undefined
            ? after !== undefined && after !== '' && { StartAfter: after }
            : { ContinuationToken: token }),
        }),
      );
    } catch (error) {
      throw s3Error(error, prefix);
    }
    for (const { Key: name, Size: size, LastModified: lastModified } of page.Contents ?? []) {
      if (name === undefined || size === undefined || !lastModified) continue;
      const key = page.EncodingType === 'url' ? decodeKey(name) : name;
      if (key === undefined) continue;
      // Whoever merges the listing with rows relies on the order; some servers (directory buckets) have none.
      if (previous !== undefined && compareKeys(key, previous) <= 0) {
        throw new StoreUnavailable('the store does not list in the order of keys', key);
      }
      previous = key;
      if (isKey(key)) yield { key, size, lastModified };
    }
    token = page.IsTruncated ? page.NextContinuationToken : undefined;
  } while (token !== undefined);
}

/** A space is `+` on AWS and `%20` elsewhere; a plus sign is `%2B` on all. Undefined when it is not UTF-8. */
function decodeKey(encoded: string): string | undefined {
  try {
    return decodeURIComponent(encoded.replaceAll('+', ' '));
  } catch {
    // Nothing that `keys.ts` made; left out like every other foreign name.
    return undefined;
  }
}
