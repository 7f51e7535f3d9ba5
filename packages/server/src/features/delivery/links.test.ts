import { createHmac } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { createApp, type App } from '../../foundation/http/app.js';
import { newId } from '../../foundation/ids.js';
import { createLog } from '../../foundation/log.js';
import { createLinks, type Links } from './links.js';

const secret = 's'.repeat(43);
const older = 'o'.repeat(43);
const publicUrl = 'https://media.example';
const fileId = newId();
const start = Date.parse('2026-03-01T12:00:00Z');

let now = start;
const clock = { now: () => now };
const linksWith = (secrets: readonly [string, ...string[]]) =>
  createLinks({ secrets, publicUrl, lifetimeSeconds: 3600, clock });

let links: Links;
let app: App;

beforeEach(async () => {
  now = start;
  links = linksWith([secret]);
  app = createApp({ log: await createLog({ level: 'silent', pretty: false }), trustedProxies: [] });
  app.all('/files/:id/content', async (request) => ({ caller: (await links.identify(request)) ?? null }));
  app.all('/files/:id', async (request) => ({ caller: (await links.identify(request)) ?? null }));
  app.all('/projects', async (request) => ({ caller: (await links.identify(request)) ?? null }));
});
afterEach(() => app.close());

async function ask(url: string, method: 'GET' | 'HEAD' | 'DELETE' | 'POST' = 'GET') {
  const answer = await app.inject({ method, url: url.replace(publicUrl, '') });
  const body: unknown = answer.body === '' ? undefined : answer.json();
  return { status: answer.statusCode, ...(body as { code?: string; caller?: unknown }) };
}

describe('a signed link', () => {
  it('proves the right to the original of its file', async () => {
    expect(await ask(links.urlFor({ fileId }))).toEqual({
      status: 200,
      caller: { kind: 'link', fileId, variant: null },
    });
  });

  it('proves the right to one variant, under a name', async () => {
    const url = links.urlFor({ fileId, variant: 'thumbnail', download: 'a & b/ü\r\n.jpg' });
    expect(await ask(url)).toEqual({ status: 200, caller: { kind: 'link', fileId, variant: 'thumbnail' } });
  });

  it('works for HEAD as well', async () => {
    expect((await ask(links.urlFor({ fileId }), 'HEAD')).status).toBe(200);
  });

  it('may have its query sorted by a proxy', async () => {
    const url = new URL(links.urlFor({ fileId, variant: 'thumbnail' }));
    url.searchParams.sort();
    expect((await ask(url.href)).status).toBe(200);
  });

  it('is none when nothing is signed', async () => {
    expect(await ask(`/files/${fileId}/content?variant=thumbnail`)).toEqual({ status: 200, caller: null });
    expect(await ask(`/files/${fileId}/content`)).toEqual({ status: 200, caller: null });
    expect(await ask('/projects?sig=x')).toEqual({ status: 200, caller: null });
  });

  it.each<[string, (url: URL) => void]>([
    ['another file', (url) => (url.pathname = url.pathname.replace(fileId, newId()))],
    ['another variant', (url) => url.searchParams.set('variant', 'large')],
    ['no variant, so the original', (url) => url.searchParams.delete('variant')],
    ['a variant given twice', (url) => url.searchParams.append('variant', 'large')],
    ['another name', (url) => url.searchParams.set('download', 'b.jpg')],
    ['a later expiry', (url) => url.searchParams.set('exp', String(Number(url.searchParams.get('exp')) + 1))],
    ['no expiry', (url) => url.searchParams.delete('exp')],
    ['an expiry that is no number', (url) => url.searchParams.set('exp', 'NaN')],
    ['another key', (url) => url.searchParams.set('kid', 'abcdefgh')],
    ['no key', (url) => url.searchParams.delete('kid')],
    ['an added parameter', (url) => url.searchParams.append('width', '100')],
    ['an added wait', (url) => url.searchParams.append('wait', '1')],
    ['an empty signature', (url) => url.searchParams.set('sig', '')],
    ['two signatures', (url) => url.searchParams.append('sig', url.searchParams.get('sig') ?? '')],
    ['padding', (url) => url.searchParams.set('sig', `${url.searchParams.get('sig') ?? ''}=`)],
  ])('is refused with %s', async (_what, change) => {
    const url = new URL(links.urlFor({ fileId, variant: 'thumbnail', download: 'a.jpg' }));
    change(url);
    expect(await ask(url.href)).toMatchObject({ status: 403, code: 'forbidden' });
  });

  it('is refused with any character of its signature changed', async () => {
    const url = new URL(links.urlFor({ fileId }));
    const good = url.searchParams.get('sig') ?? '';
    expect(good).toHaveLength(43);
    // In the last character, two bits are not part of the digest: base64 decoders ignore them.
    for (let at = 0; at < good.length; at++) {
      for (const other of at === 42
        ? 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
        : 'A-') {
        if (good[at] === other) continue;
        url.searchParams.set('sig', good.slice(0, at) + other + good.slice(at + 1));
        expect((await ask(url.href)).status).toBe(403);
      }
    }
  });

  it.each(['DELETE', 'POST'] as const)('is refused for %s', async (method) => {
    expect(await ask(links.urlFor({ fileId }), method)).toMatchObject({ status: 403, code: 'forbidden' });
  });

  it('expires, and says so only to those who had it', async () => {
    const url = new URL(links.urlFor({ fileId }));
    now = Number(url.searchParams.get('exp')) * 1000 - 1;
    expect((await ask(url.href)).status).toBe(200);
    now += 1;
    expect(await ask(url.href)).toMatchObject({ status: 403, code: 'link-expired' });
    url.searchParams.set('exp', '1');
    expect(await ask(url.href)).toMatchObject({ status: 403, code: 'forbidden' });
  });

  it('is the same for a quarter of an hour, and lasts at least its lifetime', () => {
    const first = links.urlFor({ fileId });
    now = start + 1;
    const url = links.urlFor({ fileId });
    now = start + 15 * 60_000;
    expect(links.urlFor({ fileId })).toBe(url);
    now += 1;
    expect(links.urlFor({ fileId })).not.toBe(url);
    for (const link of [first, url]) {
      const expires = Number(new URL(link).searchParams.get('exp')) * 1000;
      expect(expires - start).toBeGreaterThanOrEqual(3600_000);
      expect(expires - start).toBeLessThanOrEqual(3600_000 + 15 * 60_000);
    }
  });

  it('outlives the rotation of its secret, until the old one is dropped', async () => {
    const url = linksWith([older]).urlFor({ fileId });
    expect((await ask(url)).status).toBe(403);
    links = linksWith([secret, older]);
    expect((await ask(url)).status).toBe(200);
    expect(links.urlFor({ fileId })).toBe(linksWith([secret]).urlFor({ fileId }));
  });

  it('is signed as documented', () => {
    const url = new URL(links.urlFor({ fileId, variant: 'thumbnail', download: 'a b.jpg' }));
    const { exp, kid, sig } = Object.fromEntries(url.searchParams);
    const lines = [
      'mbk-link-1',
      'GET',
      fileId,
      'download=a%20b.jpg',
      `exp=${exp}`,
      `kid=${kid}`,
      'variant=thumbnail',
    ];
    expect(createHmac('sha256', secret).update(lines.join('\n')).digest('base64url')).toBe(sig);
  });
});
