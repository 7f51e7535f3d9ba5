/**
 * npm run build — turns packages/server/src/**\/*.ts into packages/server/dist, file by file.
 *
 * No bundling: the sources' relative imports already end in .js, a stack trace names the file it means,
 * and child processes are started by path. Types are checked elsewhere (npm run types). A build that is up
 * to date is recognised by names, sizes and times of the sources and costs no more than listing them.
 */
import { createHash } from 'node:crypto';
import { chmod, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const self = fileURLToPath(import.meta.url);
const server = join(dirname(self), '..', 'packages', 'server');
const source = join(server, 'src');
const output = join(server, 'dist');
/** Written last; says which sources the output was made from. */
const stampPath = join(output, '.stamp');

/** The command's file once it is built. */
export const mainPath = join(output, 'main.js');

/**
 * Builds what is not up to date.
 * @returns {Promise<boolean>} whether anything had to be built
 */
export async function build() {
  const sources = await listSources();
  const stamp = await digest(sources);
  const expected = sources
    .flatMap((path) => [`${path.slice(0, -3)}.js`, `${path.slice(0, -3)}.js.map`])
    .sort();
  if (await isCurrent(stamp, expected)) return false;

  const { build: transpile } = await import('esbuild');
  // Beside the output, so that renaming stays within one file system; with the process's id, so that two
  // builds at once do not write into one another's folder.
  const draft = `${output}.${process.pid}`;
  try {
    await transpile({
      entryPoints: sources.map((path) => join(source, path)),
      outbase: source,
      outdir: draft,
      bundle: false,
      platform: 'node',
      format: 'esm',
      target: 'node20',
      sourcemap: 'linked',
      tsconfig: join(server, 'tsconfig.json'),
      logLevel: 'warning',
    });
    await rm(stampPath, { force: true });
    const folders = new Set(expected.map((path) => dirname(join(output, path))));
    for (const folder of folders) await mkdir(folder, { recursive: true });
    for (const path of expected) await rename(join(draft, path), join(output, path));
    await removeStale(new Set(expected));
    if (expected.includes('main.js')) await chmod(mainPath, 0o755);
    await writeFile(join(draft, '.stamp'), stamp);
    await rename(join(draft, '.stamp'), stampPath);
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
  return true;
}

/** Says what went wrong with a build; esbuild itself has printed what is wrong with which line. */
export function reportBuildFault(error) {
  if (!Array.isArray(error.errors)) console.error(error);
}

/** Builds what is not up to date, or ends the process. */
export async function buildOrExit() {
  try {
    return await build();
  } catch (error) {
    reportBuildFault(error);
    process.exit(1);
  }
}

/** Paths below src of everything that is built, sorted. */
async function listSources() {
  const paths = await listFiles(source);
  return paths.filter((path) => path.endsWith('.ts') && !/\.(test|suite|d)\.ts$/.test(path)).sort();
}

/** Paths of all files below a folder; none when it is not there. */
async function listFiles(folder) {
  try {
    const entries = await readdir(folder, { recursive: true, withFileTypes: true });
    return entries
      .filter((entry) => entry.isFile())
      .map((entry) => relative(folder, join(entry.parentPath, entry.name)));
  } catch (error) {
    if (error.code === 'ENOENT') return [];
    throw error;
  }
}

/** Changes with any source, with this script, with the compiler's options and with its version. */
async function digest(sources) {
  const files = [
    ...sources.map((path) => join(source, path)),
    self,
    join(server, 'tsconfig.json'),
    join(server, '..', '..', 'package-lock.json'),
  ];
  const stats = await Promise.all(files.map((path) => stat(path)));
  const hash = createHash('sha256');
  for (const [index, path] of files.entries())
    hash.update(`${relative(server, path)}\0${stats[index].size}\0${stats[index].mtimeMs}\n`);
  return hash.digest('hex');
}

async function isCurrent(stamp, expected) {
  try {
    if ((await readFile(stampPath, 'utf8')) !== stamp) return false;
  } catch (error) {
    if (error.code === 'ENOENT') return false;
    throw error;
  }
  const present = new Set(await listFiles(output));
  return expected.every((path) => present.has(path));
}

async function removeStale(expected) {
  for (const path of await listFiles(output))
    if (!expected.has(path)) await rm(join(output, path), { force: true });
}

if (process.argv[1] === self) {
  const began = performance.now();
  const built = await buildOrExit();
  if (built)
    console.log(`built packages/server/dist in ${((performance.now() - began) / 1000).toFixed(1)} s`);
}
