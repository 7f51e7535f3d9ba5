/**
 * npm run dev — the server, rebuilt and restarted whenever a source, a migration or .env changes. A source
 * that does not compile is reported and the running server stays. Arguments go to `mediablobkit start`.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, watch } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { build, mainPath, reportBuildFault } from './build.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
/** An editor writes a file in several steps; this long after the last one counts as finished. */
const quietMs = 150;

/** Watchers by folder. */
const watched = new Map();
/** A change that no build shows: a migration, .env. */
let unbuilt = true;
let child;
let timer;
/** The child that is being stopped on purpose. */
let ending;
let stopping = false;
/** Restarts one after another, never two at once. */
let work = Promise.resolve();

async function restart() {
  try {
    if (!(await build()) && !unbuilt) return;
    unbuilt = false;
  } catch (error) {
    reportBuildFault(error);
    return;
  }
  await stopServer();
  if (stopping) return;
  child = spawn(process.execPath, ['--enable-source-maps', mainPath, 'start', ...process.argv.slice(2)], {
    cwd: root,
    stdio: 'inherit',
  });
  const started = child;
  started.once('exit', (code) => {
    if (started !== ending && code !== 0 && code !== null)
      console.error(`server ended with ${code}; waiting for a change`);
  });
}

async function stopServer() {
  if (!child || child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  ending = child;
  child.kill('SIGTERM');
  await ended;
}

/**
 * Watches every folder by itself: on Linux a recursive watch of Node 20 loses files that an editor replaces
 * instead of rewriting. Called again after each change, for folders that came or went.
 */
function watchFolders() {
  const folders = ['packages/server/src', 'packages/server/migrations'].flatMap((folder) => {
    const entries = readdirSync(join(root, folder), { recursive: true, withFileTypes: true });
    const inside = entries.filter((entry) => entry.isDirectory());
    return [join(root, folder), ...inside.map((entry) => join(entry.parentPath, entry.name))];
  });
  for (const [path, watcher] of watched) {
    if (folders.includes(path)) continue;
    watcher.close();
    watched.delete(path);
  }
  for (const path of folders) if (!watched.has(path)) watched.set(path, watch(path, changed));
}

function changed(event, path) {
  if (path && /(\.(test|suite)\.ts|~|\.swp)$/.test(path)) return;
  if (path && /(\.sql|^\.env)$/.test(path)) unbuilt = true;
  clearTimeout(timer);
  timer = setTimeout(() => {
    watchFolders();
    work = work.then(restart);
  }, quietMs);
}

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    stopping = true;
    void work.then(stopServer).then(() => process.exit(child?.exitCode ?? 0));
  });
}
watchFolders();
// The folder and not the file, which need not be there yet.
watch(root, (event, path) => {
  if (path === '.env') changed(event, path);
});
work = work.then(restart);
