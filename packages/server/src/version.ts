import { readFileSync } from 'node:fs';

/** Version of the program, read from its package; the path is the same from the source and from the build. */
export const version = (
  JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }
).version;
