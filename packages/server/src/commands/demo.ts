import { randomBytes } from 'node:crypto';

import { landscape } from './landscapes.js';

export interface DemoOptions {
  /** Address of a running server. */
  readonly url: string;
  /** Receives the lines for the person. */
  readonly print: (line: string) => void;
}

/** How many pictures the demo makes. */
const pictures = 12;
/** Longest wait for one picture's variants, in seconds. */
const patienceSeconds = 60;

/** The demo could not go on; the message is a sentence for a person. */
export class DemoError extends Error {
  override readonly name = 'DemoError';
}

interface DemoFile {
  readonly id: string;
  readonly status: string;
  readonly failure?: string | null;
  readonly url: string;
  readonly variants: Readonly<Record<string, { readonly url: string; readonly status: string }>>;
}

/**
 * Fills a public project of a fresh account with generated pictures, over HTTP like any client would, and
 * prints the links of each picture and its variants, which open in a browser.
 */
export async function runDemo({ url, print }: DemoOptions): Promise<void> {
  const email = `demo-${randomBytes(4).toString('hex')}@example.com`;
  const password = randomBytes(12).toString('base64url');
  const { accessToken } = await call<{ accessToken: string }>(`${url}/auth/register`, {
    method: 'POST',
    body: JSON.stringify({ email, password }),
    headers: { 'content-type': 'application/json' },
  });
  const headers = { authorization: `Bearer ${accessToken}` };
  const project = await call<{ id: string }>(`${url}/projects`, {
    method: 'POST',
    headers: { ...headers, 'content-type': 'application/json' },
    body: JSON.stringify({ name: 'Demo', settings: { visibility: 'public' } }),
  });
  print(`Account ${email} with password ${password}`);
  print(`Project ${project.id}`);
  for (let number = 0; number < pictures; number++) {
    const form = new FormData();
    const name = `landscape-${String(number + 1).padStart(2, '0')}.png`;
    form.append('file', new Blob([landscape(number, 1200, 800)], { type: 'image/png' }), name);
    const uploaded = await call<DemoFile>(`${url}/projects/${project.id}/upload`, {
      method: 'POST',
      headers,
      body: form,
    });
    const file = await settled(url, headers, uploaded.id);
    print(`${name}  ${file.status}${file.failure ? `: ${file.failure}` : ''}`);
    print(`  original   ${file.url}`);
    for (const [variant, { url: link }] of Object.entries(file.variants)) {
      print(`  ${variant.padEnd(10)} ${link}`);
    }
  }
}

/** The file once it is processed. */
async function settled(url: string, headers: Record<string, string>, id: string): Promise<DemoFile> {
  const end = Date.now() + patienceSeconds * 1000;
  for (;;) {
    const file = await call<DemoFile>(`${url}/files/${id}`, { headers });
    if (file.status !== 'processing') return file;
    if (Date.now() > end) throw new DemoError(`${id} is still being processed. Does a worker run?`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

async function call<T>(url: string, init: RequestInit): Promise<T> {
  let response: Response;
  try {
    response = await fetch(url, init);
  } catch (error) {
    throw new DemoError(`No server answers at ${new URL(url).origin}. Start it first: npm start`, {
      cause: error,
    });
  }
  const body: unknown = await response.json();
  if (!response.ok) {
    const { title, detail } = body as { title?: string; detail?: string };
    throw new DemoError(`${url} answered ${response.status}: ${title ?? ''} ${detail ?? ''}`);
  }
  return body as T;
}
