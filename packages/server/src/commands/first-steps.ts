import { mkdir, writeFile } from 'node:fs/promises';
import { relative } from 'node:path';

import { landscape } from './landscapes.js';

export interface FirstSteps {
  readonly version: string;
  /** Where the server listens. */
  readonly localUrl: string;
  readonly publicUrl: string;
  readonly dataFolder: string;
  /** Where the data is, in words: embedded or external database, disk or S3. */
  readonly database: string;
  readonly store: string;
  /** Milliseconds from the start of the process to readiness. */
  readonly readyMs: number;
  /** A picture to try with; absent once there are accounts. */
  readonly samplePath?: string;
}

/** Writes the sample picture that the first three commands upload, once. */
export async function writeSample(dataFolder: string): Promise<string> {
  const path = `${dataFolder}/sample.png`;
  await mkdir(dataFolder, { recursive: true, mode: 0o700 });
  try {
    await writeFile(path, landscape(0, 1200, 800), { flag: 'wx', mode: 0o600 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  return path;
}

/**
 * What a person needs in the first minute: where things are and, while nobody has registered, three
 * commands that work when pasted. They use nothing but curl and sed.
 */
export function firstSteps(facts: FirstSteps): string {
  const lines = [
    '',
    `  MediaBlobKit ${facts.version} is ready (${(facts.readyMs / 1000).toFixed(1)} s)`,
    '',
    `  API        ${facts.publicUrl}`,
    ...(facts.localUrl === facts.publicUrl ? [] : [`  listening  ${facts.localUrl}`]),
    `  OpenAPI    ${facts.publicUrl}/openapi.json`,
    `  health     ${facts.publicUrl}/readyz`,
    `  data       ${facts.dataFolder}`,
    `  database   ${facts.database}`,
    `  store      ${facts.store}`,
    '',
  ];
  if (facts.samplePath === undefined) {
    lines.push('  Stop with Ctrl-C.  Commands: npx mediablobkit --help', '');
    return lines.join('\n');
  }
  const here = relative(process.cwd(), facts.samplePath);
  const sample = here.startsWith('..') ? facts.samplePath : here;
  lines.push(
    '  First steps, to paste into another terminal (in this folder): register, upload, open a variant.',
    '',
    ...commands(facts.publicUrl, sample).map((command) => `${command}\n`),
    '  Or fill a project with twelve pictures: npx mediablobkit demo',
    '',
  );
  return lines.join('\n');
}

/** The three commands; each is one line that keeps what the next one needs in a shell variable. */
export function commands(url: string, samplePath: string): readonly [string, string, string] {
  const json = `-H 'content-type: application/json'`;
  const member = (name: string) => `sed -E 's/.*"${name}":"([^"]+)".*/\\1/'`;
  const auth = '-H "authorization: Bearer $TOKEN"';
  return [
    `TOKEN=$(curl -s ${url}/auth/register ${json} -d '{"email":"me@example.com","password":"correct-horse-battery"}' | ${member('accessToken')})`,
    `PROJECT=$(curl -s ${url}/projects ${auth} ${json} -d '{"name":"First"}' | sed -E 's/^\\{"id":"([^"]+)".*/\\1/'); FILE=$(curl -s ${url}/projects/$PROJECT/upload ${auth} -F file=@${samplePath} | sed -E 's/^\\{"id":"([^"]+)".*/\\1/'); echo "file $FILE"`,
    `curl -s "${url}/files/$FILE/content?variant=thumbnail&wait=10" ${auth} -o thumbnail.webp && ls -l thumbnail.webp`,
  ];
}
