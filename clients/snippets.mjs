/** The code in docs/uploads.md, as a bundle for a page: what the documentation says is what is run. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { build } from 'esbuild';

const manual = join(import.meta.dirname, '..', 'docs', 'uploads.md');

/** The JavaScript block of the manual that imports a package. */
async function snippet(imported) {
  const blocks = (await readFile(manual, 'utf8')).matchAll(/^```js\n([^]*?)^```$/gm);
  for (const [, code] of blocks) {
    if (code.includes(`from '${imported}'`)) return code;
  }
  throw new Error(`docs/uploads.md has no block that imports ${imported}`);
}

/**
 * A module with the snippet as the function `open`. What the snippet takes from around it are the arguments; what it
 * says by `console.log('file', id)` comes back through `console`.
 */
function moduleOf(code) {
  const isImport = (line) => line.startsWith('import ');
  const lines = code.split('\n');
  return [
    ...lines.filter(isImport),
    'export function open({ url, project, key, fetch, console }) {',
    ...lines.filter((line) => !isImport(line)),
    'return uppy; }',
  ].join('\n');
}

/** Bundles page.mjs with the snippets that it imports as `snippet:PACKAGE`. */
export async function bundlePage() {
  const snippets = {
    name: 'snippets',
    setup(bundle) {
      bundle.onResolve({ filter: /^snippet:/ }, ({ path }) => ({ path, namespace: 'snippet' }));
      bundle.onLoad({ filter: /.*/, namespace: 'snippet' }, async ({ path }) => ({
        contents: moduleOf(await snippet(path.slice('snippet:'.length))),
        resolveDir: import.meta.dirname,
      }));
    },
  };
  const { outputFiles } = await build({
    entryPoints: [join(import.meta.dirname, 'page.mjs')],
    bundle: true,
    write: false,
    format: 'iife',
    target: 'es2022',
    logLevel: 'warning',
    plugins: [snippets],
  });
  return outputFiles[0].text;
}
