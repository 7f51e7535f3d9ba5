#!/usr/bin/env node
import { Argument, Command, InvalidArgumentError, Option } from 'commander';

import type { CleanupCommand } from './commands/cleanup-scene.js';
import { DemoError, runDemo } from './commands/demo.js';
import { askHealth } from './commands/health.js';
import { byteSize } from './config/kinds.js';
import type { UserCommand } from './commands/user.js';
import { ConfigError, describe, loadConfig, type ConfigOptions, type Settings } from './config.js';
import { version } from './version.js';

const program = new Command('mediablobkit')
  .description('The media backend you host yourself.')
  .version(version, '-v, --version')
  .showHelpAfterError('(mediablobkit --help lists the commands)');

program
  .command('start')
  .description('everything in one process: database if none is given, migrations, API and worker')
  .action(() => serve('all'));
program
  .command('api')
  .description('the HTTP API alone; run as many as you like')
  .action(() => serve('api'));
program
  .command('worker')
  .description('background work alone; run as many as you like')
  .action(() => serve('worker'));
program
  .command('migrate')
  .description('bring the database’s schema up to date, then end')
  .action(async () => {
    const { migrateAndEnd } = await import('./commands/migrate.js');
    await migrateAndEnd(settings({ demandSecrets: false }), print);
  });
const storage = program.command('storage').description('the store of blobs');
storage
  .command('adopt')
  .description('make the store that of the present database, so that deletions count there')
  .action(async () => {
    const { adoptAndEnd } = await import('./commands/adopt.js');
    await adoptAndEnd(settings({ demandSecrets: false }), print);
  });
storage
  .command('cors')
  .description('print the CORS rules of the bucket that browsers need, for aws s3api put-bucket-cors')
  .option('--apply', 'set them, and read them back')
  .action(async ({ apply = false }: { apply?: boolean }) => {
    const { showCors } = await import('./commands/cors.js');
    if (!(await showCors(settings({ demandSecrets: false }), { apply, print, remark }))) process.exitCode = 1;
  });
storage
  .command('copy')
  .description('copy all blobs from one store to another and verify each; run again, it continues')
  .requiredOption(
    '--from <store>',
    'disk:FOLDER, s3://BUCKET?endpoint=URL&region=NAME&path-style=true, or current',
  )
  .requiredOption(
    '--to <store>',
    'the same; keys from AWS_… or AWS_…_FROM and AWS_…_TO; &create=true makes the bucket',
  )
  .option('--parallel <n>', 'blobs under way at the same time', parallelism, 6)
  .option('--reread', 'read everything in the target again, also what an earlier run has read')
  .option('--without-database', 'copy what is listed, and compare by reading both sides')
  .action(
    async (options: {
      from: string;
      to: string;
      parallel: number;
      reread?: true;
      withoutDatabase?: true;
    }) => {
      const { copyAndEnd } = await import('./commands/copy.js');
      process.exitCode = await copyAndEnd(settings({ demandSecrets: false }), {
        ...options,
        reread: options.reread ?? false,
        withoutDatabase: options.withoutDatabase ?? false,
        env: process.env,
        cwd: process.cwd(),
        print,
        draw: process.stderr.isTTY ? (line) => process.stderr.write(`\r\x1b[K${line}`) : undefined,
        signal: interrupted(),
      });
    },
  );
const user = program.command('user').description('the people of the server, for who runs it');
user
  .command('list')
  .description('everybody who has an account: address, role, since when')
  .action(() => users({ name: 'list' }));
user
  .command('reset-link')
  .argument('<email>')
  .description('a link with which the person can choose a new password, once')
  .action((email: string) => users({ name: 'reset-link', email }));
user
  .command('role')
  .argument('<email>')
  .addArgument(new Argument('<role>').choices(['admin', 'user']))
  .description('make somebody an administrator, or no longer one')
  .action((email: string, role: 'admin' | 'user') => users({ name: 'role', email, role }));
for (const name of ['disable', 'enable'] as const) {
  user
    .command(name)
    .argument('<email>')
    .description(name === 'disable' ? 'end all sessions, and refuse to log in' : 'let in again')
    .action((email: string) => users({ name, email }));
}
program
  .command('cleanup')
  .description(
    'what the timetable does, now: sweep, integrity, uploads, blobs, variants, keys, sessions, jobs; exit code 0 clean, 1 findings remain, 2 could not check',
  )
  .argument('<what>', 'which of them')
  .option('--dry-run', 'sweep: check everything and change nothing')
  .option('--delete', 'sweep: move blobs without a row into quarantine, and remove those whose time is over')
  .option('--project <id>', 'sweep: only the blobs and rows of this project')
  .option(
    '--bytes <size>',
    'integrity: read so much, such as 500MiB, instead of what is left of the day',
    bytes,
  )
  .option('--json', 'sweep, integrity: one JSON object a line')
  .action(async (what: string, options: Omit<CleanupCommand, 'what' | 'print' | 'remark' | 'signal'>) => {
    try {
      const { cleanupAndEnd } = await import('./commands/cleanup.js');
      const interrupt = new AbortController();
      for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupt.abort());
      process.exitCode = await cleanupAndEnd(settings({ demandSecrets: false }), {
        ...options,
        what,
        print,
        remark,
        signal: interrupt.signal,
      });
    } catch (error) {
      await complain(error);
      process.exitCode = 2;
    }
  });
program
  .command('fsck')
  .description(
    'check what must hold of rows and blobs, and name what does not; exit code 0 clean, 1 violations remain, 2 could not check',
  )
  .option('--deep', 'also read all bytes and compare their SHA-256')
  .option(
    '--repair',
    'do what is safe: count anew, release, take out of the queue, render again; nothing is deleted',
  )
  .option('--json', 'one JSON object at the end')
  .action(async (options: { deep?: boolean; repair?: boolean; json?: boolean }) => {
    try {
      const { fsckAndEnd } = await import('./commands/fsck.js');
      const interrupt = new AbortController();
      for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupt.abort());
      process.exitCode = await fsckAndEnd(settings({ demandSecrets: false }), {
        ...options,
        print,
        remark,
        signal: interrupt.signal,
      });
    } catch (error) {
      await complain(error);
      process.exitCode = 2;
    }
  });
program
  .command('doctor')
  .description(
    'look at the installation and say what to do; exit code 0 nothing fails, 1 something does, 2 could not look',
  )
  .option('--json', 'one JSON object')
  .action(async ({ json = false }: { json?: boolean }) => {
    try {
      const { examine } = await import('./commands/doctor/doctor.js');
      process.exitCode = await examine(settings({ demandSecrets: false }), { json, print });
    } catch (error) {
      await complain(error);
      process.exitCode = 2;
    }
  });
program
  .command('backup')
  .description('write all rows, and with --blobs all blobs, into a new folder; servers may run')
  .requiredOption('--to <folder>', 'must not be there yet')
  .option('--blobs', 'take the blobs along, each verified')
  .action(async ({ to, blobs = false }: { to: string; blobs?: boolean }) => {
    const { backupAndEnd } = await import('./commands/backup.js');
    await backupAndEnd(settings({ demandSecrets: false }), { to, blobs, print, signal: interrupted() });
  });
program
  .command('restore')
  .description('make database and store what they were when a backup was made; stop all servers before')
  .addOption(new Option('--from <folder>', 'the backup').conflicts('done'))
  .option('--force', 'replace everything that the database holds')
  .option('--done', 'all is there again: deletions, which a restore pauses, go on')
  .action(async ({ from, force = false, done }: { from?: string; force?: boolean; done?: true }) => {
    const { endRestore, restoreAndEnd } = await import('./commands/restore.js');
    if (done) return endRestore(settings({ demandSecrets: false }), print);
    if (from === undefined)
      throw new ConfigError(['Give the backup: --from FOLDER, or --done after a restore.']);
    const command = { from, force, print, signal: interrupted() };
    process.exitCode = await restoreAndEnd(settings({ demandSecrets: false }), command);
  });
program
  .command('config')
  .description('print the settings in force, secrets masked')
  .action(() => print(describe(settings({ demandSecrets: false }))));
program
  .command('health')
  .description('ask a running server whether it can do its work; exit code 1 when not')
  .option('--url <url>', 'address of the server')
  .action(async ({ url }: { url?: string }) => {
    const { ready, text } = await askHealth(url ?? localUrl(settings({ demandSecrets: false })));
    print(text);
    if (!ready) process.exitCode = 1;
  });
program
  .command('demo')
  .description('fill a public project of a running server with twelve generated pictures')
  .option('--url <url>', 'address of the server')
  .action(async ({ url }: { url?: string }) => {
    await runDemo({ url: url ?? localUrl(settings({ demandSecrets: false })), print });
  });

// Without a command it starts; as commander's default command it would take a mistyped one for an argument.
const typed = process.argv.slice(2);
await program.parseAsync(typed.length === 0 ? ['start'] : typed, { from: 'user' }).catch(complain);

async function serve(role: 'all' | 'api' | 'worker'): Promise<void> {
  // Loaded only here: `config` and `health` need none of the server's libraries.
  const { start } = await import('./commands/start.js');
  await start(role, settings({}), print);
}

async function users(command: UserCommand): Promise<void> {
  const { userAndEnd } = await import('./commands/user.js');
  await userAndEnd(settings({ demandSecrets: false }), command, print);
}

/** Aborts at the first SIGINT or SIGTERM. A second one ends the process at once, which is safe too. */
function interrupted(): AbortSignal {
  const interrupt = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupt.abort());
  return interrupt.signal;
}

function parallelism(text: string): number {
  if (!/^\d{1,2}$/.test(text) || Number(text) < 1 || Number(text) > 64) {
    throw new InvalidArgumentError('It must be a whole number from 1 to 64.');
  }
  return Number(text);
}

function bytes(text: string): number {
  const parsed = byteSize({ min: '1', max: '8000TiB' }).parse(text, '');
  if ('fault' in parsed) throw new InvalidArgumentError(`It must ${parsed.fault}.`);
  return parsed.value;
}

function settings(options: Pick<ConfigOptions, 'demandSecrets'>): Settings {
  return loadConfig({ env: process.env, cwd: process.cwd(), ...options });
}

/** Where a server with these settings is reached from the same machine. */
function localUrl({ host, port }: Settings): string {
  const reachable =
    host === '0.0.0.0' || host === '::' ? 'localhost' : host.includes(':') ? `[${host}]` : host;
  return `http://${reachable}:${port}`;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** For people: standard output may be going into a file. */
function remark(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** What a person can mend is told in its own words; anything else with all there is to know. */
async function complain(error: unknown): Promise<void> {
  if (error instanceof DOMException && error.name === 'AbortError') {
    process.stderr.write('Interrupted.\n');
    process.exitCode = 130;
    return;
  }
  const { isPlain } = await import('./commands/plain-errors.js');
  const plain = error instanceof ConfigError || error instanceof DemoError || isPlain(error);
  process.stderr.write(
    `${plain ? (error as Error).message : error instanceof Error ? error.stack : String(error)}\n`,
  );
  process.exitCode = 1;
}
