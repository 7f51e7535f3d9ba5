import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseEnv } from 'node:util';

import { distance } from 'fastest-levenshtein';

/** Variables by name, as `process.env` has them. */
export type Variables = Readonly<Record<string, string | undefined>>;

/** Where a value came from. */
export type Source = 'default' | 'environment' | '.env' | 'file';

/** The text of one setting, or the sentence that says why there is none. */
export type Found =
  { readonly text: string; readonly source: Source } | { readonly fault: string } | undefined;

export interface Layer {
  readonly source: 'environment' | '.env';
  readonly variables: Variables;
}

/** Reads `.env` in `cwd`; one that is not there is no fault, one that cannot be read is. */
export function readEnvFile(cwd: string): { readonly variables: Variables; readonly fault?: string } {
  try {
    return { variables: parseEnv(readFileSync(join(cwd, '.env'), 'utf8')) };
  } catch (error) {
    const code = errorCode(error);
    return code === 'ENOENT' ? { variables: {} } : { variables: {}, fault: `.env cannot be read (${code}).` };
  }
}

/**
 * Looks a setting up as NAME and NAME_FILE; the first layer that has either decides. A file's content
 * counts without the line end at its end.
 */
export function find(name: string, layers: readonly Layer[], cwd: string): Found {
  const fileName = `${name}_FILE`;
  for (const { source, variables } of layers) {
    const text = variables[name];
    const path = variables[fileName];
    if (text !== undefined && path !== undefined)
      return { fault: `${name} and ${fileName} are both set; keep one of them.` };
    if (path !== undefined) return readValueFile(name, fileName, path, cwd);
    if (text !== undefined)
      return text.trim() === ''
        ? { fault: `${name} is set but empty; give it a value or remove it.` }
        : { text: text.trim(), source };
  }
  return undefined;
}

/** More than any setting needs; keeps a path such as /dev/zero from filling the memory. */
const maxFileBytes = 64 * 1024;

function readValueFile(name: string, fileName: string, path: string, cwd: string): Found {
  if (path.trim() === '') return { fault: `${fileName} is set but empty; give it a path or remove it.` };
  let text: string;
  try {
    const content = readFileSync(resolve(cwd, path));
    if (content.length > maxFileBytes)
      return { fault: `${fileName} names a file that is too long for ${name}.` };
    text = content.toString('utf8').replace(/\r?\n$/, '');
  } catch (error) {
    return { fault: `${fileName} names a file that cannot be read (${errorCode(error)}).` };
  }
  return text.trim() === '' ? { fault: `${fileName} names an empty file.` } : { text, source: 'file' };
}

/** The sentences about variables that begin with MBK_ and are no setting. */
export function unknownVariables(layers: readonly Layer[], known: readonly string[]): string[] {
  const names = new Set(layers.flatMap((layer) => Object.keys(layer.variables)));
  const accepted = new Set(known.flatMap((name) => [name, `${name}_FILE`]));
  const unknown = [...names].filter((name) => /^mbk_/i.test(name) && !accepted.has(name)).sort();
  return unknown.map((name) => {
    const suggestion = suggest(name.toUpperCase(), [...accepted]);
    return suggestion === undefined
      ? `${name} is no setting.`
      : `${name} is no setting; did you mean ${suggestion}?`;
  });
}

/** The setting nearest in spelling, when it is near enough to be meant. */
function suggest(name: string, known: readonly string[]): string | undefined {
  const bare = name.slice('MBK_'.length);
  if (known.includes(bare)) return bare;
  let nearest: string | undefined;
  // A third of the letters after the prefix, which all names share.
  let best = Math.max(2, Math.floor(bare.length / 3)) + 1;
  for (const candidate of known) {
    const far = distance(name, candidate);
    if (far < best) [nearest, best] = [candidate, far];
  }
  return nearest;
}

function errorCode(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
}
