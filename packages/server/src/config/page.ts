import { groups, table, type Setting } from './table.js';

/** `docs/settings.md`, made from the table. */
export function settingsPage(): string {
  const all: readonly Setting<unknown>[] = Object.values(table);
  const sections = groups.map((group) => {
    const entries = all.filter((setting) => setting.group === group).map(entry);
    return `## ${group}\n\n${entries.join('\n')}`;
  });
  return `${introduction}\n${sections.join('\n')}`;
}

function entry({ name, kind, standard, otherwise, doc }: Setting<unknown>): string {
  return [
    `### \`${name}\``,
    '',
    doc,
    '',
    `- Takes ${kind.expects}.`,
    `- Default: ${standard === undefined ? (otherwise ?? 'unset') : `\`${standard}\``}.`,
    '',
  ].join('\n');
}

const introduction = `# Settings

<!-- Generated from packages/server/src/config/table.ts by \`npm run generate\`; do not edit. -->

Settings are read once, at start, from the environment and from a file \`.env\` in the working folder; the
environment wins. Each can also be given as the content of a file: \`NAME_FILE=/path\` instead of \`NAME=value\`
(a line end at the file's end does not count; setting both is a fault). Every fault is reported at once and the
process ends; no value is ever printed. An unknown name that begins with \`MBK_\` is a fault too.
\`mediablobkit config\` prints what counts, secrets masked.

Durations are a number and a unit: \`ms\`, \`s\`, \`m\`, \`h\`, \`d\`. Sizes are bytes, or a number and \`KiB\`, \`MiB\`,
\`GiB\`, \`TiB\` (\`KB\`, \`K\` and so on mean the same: powers of 1024). Lists are separated by commas.
`;
