/**
 * npm run generate — writes what is made from declarations in the code:
 *
 *   docs/settings.md   from packages/server/src/config/table.ts
 *   docs/problems.md   from packages/server/src/foundation/problems.ts
 *   docs/fsck.md       from packages/server/src/features/cleanup/fsck/checks.ts
 *   openapi.json       from the routes
 *   packages/server/src/foundation/database/tables.ts   from the migrations
 *
 * npm run generate:check (--check) writes nothing and fails with the list of files that are not current.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

import { buildOrExit } from './build.mjs';
import { tablesFromMigrations } from './generate-tables.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const server = join(root, 'packages', 'server');

/** A module of the built server. */
const built = (path) => import(pathToFileURL(join(server, 'dist', path)).href);

/** Each generated file and how its text is made. */
const files = {
  'docs/settings.md': async () => (await built('config/page.js')).settingsPage(),
  'docs/problems.md': async () => problemsPage((await built('foundation/problems.js')).problems),
  'docs/fsck.md': async () => fsckPage(await built('features/cleanup/fsck/checks.js')),
  'openapi.json': async () =>
    `${JSON.stringify(await (await built('openapi.js')).openapiDocument(), null, 2)}\n`,
  'packages/server/src/foundation/database/tables.ts': async () => {
    const { startEmbedded } = await built('foundation/database/embedded.js');
    const { migrate } = await built('foundation/database/migrate.js');
    const { createLog } = await built('foundation/log.js');
    const log = await createLog({ level: 'error', pretty: false });
    return tablesFromMigrations({ startEmbedded, migrate, log });
  },
};

function problemsPage(problems) {
  const sections = Object.entries(problems).map(
    ([code, { status, title, doc }]) => `## \`${code}\`\n\n**${status}** · ${title}\n\n${doc}\n`,
  );
  return `# Problems

<!-- Generated from packages/server/src/foundation/problems.ts by \`npm run generate\`; do not edit. -->

Every answer that is no success is a problem document (RFC 9457, \`application/problem+json\`). Its \`code\` is one
of the names below and never changes its meaning; \`type\` is a URI that ends in it. \`detail\` says what happened
this time, \`requestId\` finds the line in the log. Where a limit was passed, \`limit\` and \`actual\` are the numbers;
where a request is not valid, \`errors\` lists each place (\`pointer\`, a JSON pointer) with what is wrong there.

| Code | Status | Title |
|---|---|---|
${Object.entries(problems)
  .map(([code, { status, title }]) => `| [\`${code}\`](#${code}) | ${status} | ${title} |`)
  .join('\n')}

${sections.join('\n')}`;
}

function fsckPage({ rowChecks, blobChecks }) {
  const rows = (checks) =>
    Object.entries(checks).map(
      ([name, { doc, repair }]) =>
        `| \`${name}\` | ${doc} | ${repair ?? 'nothing: somebody has to look, or the timetable does it'} |`,
    );
  return `# What fsck checks

<!-- Generated from packages/server/src/features/cleanup/fsck/checks.ts by \`npm run generate\`; do not edit. -->

\`\`\`sh
mediablobkit fsck            # rows, and rows against the store's listing
mediablobkit fsck --deep     # also reads every blob and compares its SHA-256
mediablobkit fsck --repair   # does what is safe
mediablobkit fsck --json     # {found, repaired, seconds, violations: [{check, subject, projectId, detail, repaired}]}
\`\`\`

It runs beside a server or without one, with the server's settings. Each violation is a line: the check, what it is about, and
what is wrong there. The exit code is 0 when nothing is wrong, 1 when something remains, 2 when it could not be checked (the
store is away, or bears the mark of another installation). What is under way is given the time that it may take; differences
between rows and store are looked at a second time before they are told.

Nothing is ever deleted by it. Blobs that no row names are the sweep's: see [operating.md](operating.md).

## Rows

| check | what must hold | \`--repair\` |
|---|---|---|
${rows(rowChecks).join('\n')}

## Blobs

| check | what must hold | \`--repair\` |
|---|---|---|
${rows(blobChecks).join('\n')}
`;
}

async function current(path) {
  try {
    return await readFile(join(root, path), 'utf8');
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
}

const check = process.argv.includes('--check');
await buildOrExit();
const stale = [];
for (const [path, make] of Object.entries(files)) {
  const text = await make();
  if (text === (await current(path))) continue;
  stale.push(path);
  if (check) continue;
  await mkdir(dirname(join(root, path)), { recursive: true });
  await writeFile(join(root, path), text);
}
if (check && stale.length > 0) {
  console.error(
    `Not current; run npm run generate and commit:\n${stale.map((path) => `  ${path}`).join('\n')}`,
  );
  process.exit(1);
}
for (const path of stale) console.log(`wrote ${path}`);
// Modules of the server may hold connections or timers open.
process.exit(0);
