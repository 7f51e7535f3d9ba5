import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';

import { photo } from '../acceptance/pictures.ts';
import { openBrowser, openPage, openSite } from './browser.mjs';
import { noise, openScene, sha256, sha256OfUrl, stores } from './scene.mjs';

const mebibyte = 1024 * 1024;
const screenshots = process.env.MBK_CLIENTS_SCREENSHOTS;

describe('Uppy in Chromium, on a page of another origin', () => {
  let site;
  let browser;
  beforeAll(async () => {
    site = await openSite();
    browser = await openBrowser();
  });
  afterAll(async () => {
    await browser?.close();
    await site?.close();
  });

  for (const { name, missing, settings } of stores) {
    describe.skipIf(missing)(`on ${name}${missing ? ` (${missing})` : ''}`, () => {
      let scene;
      let files;
      let tab;
      beforeAll(async () => {
        scene = await openScene({ ...settings(), MBK_CORS_ORIGINS: site.origin });
        files = {
          photo: await file('photo.jpg', await photo(1200, 800)),
          film: await file('film.bin', noise(12 * mebibyte + 17)),
        };
        // On the disk there is nothing to set, and the command says so.
        const { code, output } = await scene.command('storage', 'cors', '--apply');
        expect(code, output).toBe(0);
      });
      afterAll(() => scene?.close());
      beforeEach(async () => {
        tab = await openPage(browser, site.origin);
      });
      afterEach(() => tab?.page.close());

      async function file(filename, bytes) {
        const path = join(scene.files, filename);
        await writeFile(path, bytes);
        return { filename, path, sha256: sha256(bytes), size: bytes.length };
      }

      /** Uploads in the page; the file is there, and its bytes come back whole, here and in the page. */
      async function upload(way, sent, options = {}) {
        const { url, project, key } = scene;
        const id = await tab.upload(sent.path, way, { url, project, key, ...options });
        const stored = await scene.settled(id);
        expect(stored).toMatchObject({
          status: 'ready',
          filename: sent.filename,
          size: sent.size,
          sha256: sent.sha256,
        });
        expect(await sha256OfUrl(stored.url)).toBe(sent.sha256);
        expect(await tab.digest(stored.url)).toBe(sent.sha256);
        expect(tab.complaints).toEqual([]);
        return stored;
      }

      it('@uppy/tus uploads, with metadata, and the page shows the picture', async () => {
        const stored = await upload('tus', files.photo, { meta: { scene: 'the harbour' } });
        expect(stored.mimeType).toBe('image/jpeg');
        expect(stored.metadata).toEqual({ scene: 'the harbour' });
        const { medium, thumbnail } = stored.variants;
        const sizes = await tab.show([stored.url, medium.url, thumbnail.url]);
        expect(sizes).toEqual([stored, medium, thumbnail].map(({ width, height }) => [width, height]));
        await keepScreenshot(tab.page, name);
        expect(tab.complaints).toEqual([]);
      });

      it('@uppy/aws-s3 uploads in one request', async () => {
        const stored = await upload('s3', files.photo);
        expect(stored.mimeType).toBe('image/jpeg');
      });

      it('@uppy/aws-s3 uploads in one PUT of a size that the page tells', async () => {
        await upload('s3', files.photo, { tellSize: true });
        expect(tab.requests.filter((request) => request.method() === 'PUT')).toHaveLength(1);
      });

      it('@uppy/aws-s3 uploads in parts, paused and resumed', async () => {
        await upload('s3', files.film, { parts: true });
        const wishes = tab.bodiesTo('/sign').map((body) => JSON.parse(body));
        expect(wishes.filter(({ partNumber }) => partNumber !== undefined).length).toBeGreaterThanOrEqual(3);
        // After the pause it asked which parts there are.
        expect(wishes.filter(({ method }) => method === 'GET')).toHaveLength(1);
      });

      it('gives nothing to a page of an origin that is not allowed', async () => {
        const other = await openPage(browser, site.otherOrigin);
        const { url, project, key } = scene;
        await expect(other.upload(files.photo.path, 's3', { url, project, key })).rejects.toThrow(
          /Uppy could not/,
        );
        expect(other.complaints.join()).toContain('blocked by CORS policy');
        await other.page.close();
      });
    });
  }
});

async function keepScreenshot(page, name) {
  if (screenshots === undefined) return;
  await mkdir(screenshots, { recursive: true });
  await page.screenshot({ path: join(screenshots, `${name.replaceAll(' ', '-')}.png`), fullPage: true });
}
