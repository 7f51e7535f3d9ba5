/** Debian's Chromium on pages of a site of our own. */
import { once } from 'node:events';
import { createServer } from 'node:http';

import { chromium } from 'playwright-core';

import { bundlePage } from './snippets.mjs';

const html = `<!doctype html><meta charset="utf-8"><title>clients</title>
<style>body { font: 16px sans-serif } img { max-width: 100%; display: block; margin: 8px 0 }</style>
<input type="file"><main></main><script src="/page.js"></script>`;

/** A site with one page, on two names that are two origins to a browser. */
export async function openSite() {
  const script = await bundlePage();
  const server = createServer((request, response) => {
    const [type, body] =
      request.url === '/page.js'
        ? ['text/javascript', script]
        : request.url === '/'
          ? ['text/html', html]
          : [];
    response.writeHead(body === undefined ? 204 : 200, type && { 'content-type': `${type}; charset=utf-8` });
    response.end(body);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  return {
    origin: `http://127.0.0.1:${port}`,
    otherOrigin: `http://localhost:${port}`,
    async close() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

export function openBrowser() {
  return chromium.launch({
    executablePath: '/usr/bin/chromium',
    headless: true,
    // Chromium refuses to run as root with its sandbox; what it opens here is ours. The rest keeps it off the network.
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}

/** A page of the site; `complaints` is what a developer would see in red, `requests` what went over the wire. */
export async function openPage(browser, origin) {
  const page = await browser.newPage({ viewport: { width: 900, height: 900 } });
  const complaints = [];
  const requests = [];
  page.on('request', (request) => requests.push(request));
  page.on('console', (message) => {
    if (message.type() === 'error') complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(String(error)));
  await page.goto(origin);
  return {
    page,
    complaints,
    requests,
    /** The bodies of the page's POST requests to addresses that end so. */
    bodiesTo: (end) =>
      requests
        .filter((request) => request.method() === 'POST' && request.url().endsWith(end))
        .map((request) => request.postData()),
    /** Chooses a file in the page and calls one of the functions of page.mjs. */
    async upload(path, way, options) {
      await page.setInputFiles('input', path);
      return page.evaluate(([a, b]) => globalThis.clients.upload(a, b), [way, options]);
    },
    digest: (url) => page.evaluate((address) => globalThis.clients.digest(address), url),
    show: (urls) => page.evaluate((addresses) => globalThis.clients.show(addresses), urls),
  };
}
