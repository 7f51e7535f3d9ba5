import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import pg from 'pg';
import { afterAll, afterEach, beforeAll, expect } from 'vitest';

import { startEmbedded, type Embedded } from '../src/foundation/database/embedded.js';
import { findPostmaster } from '../src/foundation/database/embedded/postmaster.js';
import { stopServer } from '../src/foundation/database/embedded/server.js';
import { createLog } from '../src/foundation/log.js';

/** The program that `startInOtherProcess` runs. */
export const embeddedScript = fileURLToPath(new URL('embedded-process.ts', import.meta.url));
const tsx = import.meta.resolve('tsx');

/** What the other process says once it is there. */
export interface Answer {
  readonly url?: string;
  readonly adopted?: boolean;
  readonly refused?: string;
}

export interface OtherProcess {
  readonly child: ChildProcess;
  readonly answer: Promise<Answer>;
  /** Leaves gracefully. */
  leave(): Promise<void>;
}

/**
 * Folders for tests of the embedded database, below one of mode 0700 as root's home folder is. Registers hooks
 * that end every process and server of a test and remove its folders.
 */
export async function givenEmbedded() {
  const log = await createLog({ level: 'silent', pretty: false });
  const root = mkdtempSync(join(tmpdir(), 'mbk-embedded-'));
  /** A database that was made and stopped. Tests that leave it as it was use it in turn; others copy it. */
  const made = join(root, 'made', 'postgres');
  const children: ChildProcess[] = [];
  const folders: string[] = [];
  const facts = { firstStartMs: Number.NaN };

  beforeAll(async () => {
    const before = performance.now();
    const embedded = await startEmbedded({ folder: made, log });
    facts.firstStartMs = performance.now() - before;
    await embedded.stop();
  });

  afterEach(async () => {
    for (const child of children.splice(0)) {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill('SIGKILL');
        await once(child, 'exit');
      }
    }
    await stopServer(join(made, 'data'), log);
    for (const folder of folders.splice(0)) {
      await stopServer(join(folder, 'data'), log);
      rmSync(dirname(folder), { recursive: true, force: true });
    }
  });

  afterAll(() => {
    rmSync(root, { recursive: true, force: true });
  });

  /** Hands a folder to the hooks; the folder above it is removed with it. */
  function owned(folder: string): string {
    folders.push(folder);
    return folder;
  }

  /** A folder's path that is not there yet. `inner`: folders above it. */
  function newFolder(...inner: string[]): string {
    return owned(join(mkdtempSync(join(root, 'case-')), ...inner, 'postgres'));
  }

  return {
    log,
    made,
    facts,
    children,
    owned,
    newFolder,
    copyInto(folder: string): string {
      cpSync(join(made, 'data'), join(folder, 'data'), { recursive: true });
      // Node.js 22 gives copied folders the standard mode, with which PostgreSQL does not start.
      chmodSync(join(folder, 'data'), 0o700);
      return folder;
    },
    start(folder: string): Promise<Embedded> {
      // What a power cut would do to it does not matter here.
      return startEmbedded({ folder, log, settings: { fsync: 'off' } });
    },
    startInOtherProcess(folder: string, user: { uid?: number; gid?: number } = {}): OtherProcess {
      const child = spawn(process.execPath, ['--import', tsx, embeddedScript, folder], {
        stdio: ['pipe', 'pipe', 'inherit'],
        cwd: '/',
        ...user,
      });
      children.push(child);
      const line = once(createInterface(child.stdout), 'line');
      return {
        child,
        answer: line.then(([text]) => JSON.parse(String(text)) as Answer),
        async leave() {
          const exited = once(child, 'exit');
          child.stdin.end();
          expect(await exited).toEqual([0, null]);
        },
      };
    },
  };
}

/** The answer to one question in SQL. */
export async function ask(url: string, question: string): Promise<unknown> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const { rows } = await client.query<{ answer: unknown }>(`SELECT (${question}) AS answer`);
    return rows[0]?.answer;
  } finally {
    await client.end();
  }
}

export function isRunning(folder: string): boolean {
  return findPostmaster(join(folder, 'data')) !== undefined;
}
