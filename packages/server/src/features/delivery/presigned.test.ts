import { expect, it, vi } from 'vitest';

import type { PresignGetOptions } from '../../foundation/blobs/blob-store.js';
import { createPresignedUrls } from './presigned.js';
import type { Source } from './source.js';

const source = { key: 'project/files/a.jpg', mimeType: 'image/jpeg' } as Source;
const wish = { contentDisposition: 'inline', cacheControl: 'no-store' };
/** The beginning of a window, seconds. */
const start = 1_800_000_000;

function signing(lifetime?: number) {
  const presignGet = vi.fn(async (key: string, { signedAt, expiresIn }: PresignGetOptions) => {
    const expires = lifetime ?? expiresIn;
    return `https://bucket.test/${key}?X-Amz-Date=${signedAt.getTime() / 1000}&X-Amz-Expires=${expires}`;
  });
  return { presignGet, urls: createPresignedUrls({ presignGet }) };
}

it('signs once in a window, and works for one more', async () => {
  const { presignGet, urls } = signing();
  const first = await urls.urlFor(source, wish, start);
  expect(await urls.urlFor(source, wish, start + 899)).toBe(first);
  expect(presignGet).toHaveBeenCalledTimes(1);
  expect(first?.until).toBe(start + 1800);
  const next = await urls.urlFor(source, wish, start + 900);
  expect([next?.url === first?.url, next?.until]).toEqual([false, start + 2700]);
});

it.each([
  [{ ...source, key: 'project/files/b.jpg' }, wish],
  [{ ...source, mimeType: 'image/png' }, wish],
  [source, { ...wish, contentDisposition: 'attachment' }],
  [source, { ...wish, cacheControl: 'private, max-age=60' }],
])('signs another for another answer', async (other, otherWish) => {
  const { presignGet, urls } = signing();
  await urls.urlFor(source, wish, start);
  await urls.urlFor(other, otherWish, start);
  expect(presignGet).toHaveBeenCalledTimes(2);
});

it('hands none out that is about to end with temporary credentials', async () => {
  const { presignGet, urls } = signing(300);
  await urls.urlFor(source, wish, start);
  expect((await urls.urlFor(source, wish, start + 240))?.until).toBe(start + 300);
  expect(presignGet).toHaveBeenCalledTimes(1);
  await urls.urlFor(source, wish, start + 241);
  expect(presignGet).toHaveBeenCalledTimes(2);
});

it('has none where the store signs none', async () => {
  const urls = createPresignedUrls({ presignGet: () => Promise.resolve(undefined) });
  expect(urls.none).toBe(false);
  expect(await urls.urlFor(source, wish, start)).toBeUndefined();
  expect(urls.none).toBe(true);
});
