import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';

import { bombs, hungryPng, impossible } from '../../../test/fixtures/bombs.js';
import { builtEntry, decoderEntry } from '../../../test/fixtures/imaging.js';
import { gifThatIsAPage, pageNamedPicture, svgBomb, svgPicture } from '../../../test/fixtures/impostors.js';
import { animation, cmykPhoto, photo, type PictureFormat } from '../../../test/fixtures/pictures.js';
import type { Imaging } from './imaging.js';
import { createImaging, type ImagingOptions } from './pool.js';
import type { Recipe } from './recipe.js';

const thumbnail: Recipe = { width: 64, height: 64, fit: 'cover', format: 'webp' };
const recipes = [{ name: 'thumbnail', recipe: thumbnail }];
const defaults = {
  log: pino({ level: 'silent' }),
  size: 1,
  memoryLimitBytes: 512 * 2 ** 20,
  wallClockMs: 10_000,
};

let realChild: URL;
let misbehavingChild: URL;
let folder: string;
const opened: Imaging[] = [];

beforeAll(async () => {
  realChild = await decoderEntry();
  misbehavingChild = await builtEntry(
    new URL('../../../test/fixtures/misbehaving-decoder.ts', import.meta.url),
  );
});
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pool-test-'));
});
afterEach(async () => {
  await Promise.all(opened.splice(0).map((imaging) => imaging.close()));
  await rm(folder, { recursive: true });
});

function open(options: Partial<ImagingOptions> = {}): Imaging {
  const imaging = createImaging({ ...defaults, childEntry: realChild, ...options });
  opened.push(imaging);
  return imaging;
}

/** What the misbehaving child says of itself when it is asked for nothing bad. */
interface Report {
  readonly pid: number;
  readonly tasks: number;
  readonly env: Record<string, string>;
  readonly priority: number;
  readonly argv: readonly string[];
}

async function ask(imaging: Imaging, what: string, signal?: AbortSignal): Promise<Report> {
  // The misbehaving child reads no file: it does what the path's last part says.
  const path = join(folder, what);
  await writeFile(path, '');
  const request = { path, recipes, outputFolder: folder, ...(signal ? { signal } : {}) };
  const report: object = await imaging.render(request);
  return report as Report;
}

/** An orphan that died may stay a zombie for seconds where init is slow to collect it. */
function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return process.platform !== 'linux' || !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

describe('a child that misbehaves costs only the task it was at', () => {
  const bad = (options: Partial<ImagingOptions> = {}): Imaging =>
    open({ childEntry: misbehavingChild, ...options });

  test.each(['hang', 'spin'])('when it %ss it is killed at the wall clock', async (how) => {
    const imaging = bad({ wallClockMs: 200 });
    const before = await ask(imaging, 'report');
    await expect(ask(imaging, how)).rejects.toMatchObject({
      code: 'decoder-timeout',
      limit: 200,
      permanent: false,
    });
    expect(isAlive(before.pid)).toBe(false);
    const after = await ask(imaging, 'report');
    expect(after.pid).not.toBe(before.pid);
  });

  test('when it eats memory it is killed at the ceiling', async () => {
    const imaging = bad({ memoryLimitBytes: 200 * 2 ** 20 });
    const failure = await ask(imaging, 'allocate').catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: 'decoder-memory', limit: 200 * 2 ** 20 });
    // What it grows by between two looks; here 4 GB/s at most.
    expect((failure as { actual: number }).actual).toBeLessThan(900 * 2 ** 20);
    await expect(ask(imaging, 'report')).resolves.toMatchObject({ tasks: 1 });
  });

  test('when it crashes, the log tells how and what it complained of', async () => {
    const lines: string[] = [];
    const imaging = bad({ log: pino({ level: 'warn' }, { write: (line: string) => void lines.push(line) }) });
    await expect(ask(imaging, 'crash')).rejects.toMatchObject({
      code: 'decoder-crashed',
      message: 'The decoder ended by SIGSEGV.',
    });
    await expect(ask(imaging, 'exit')).rejects.toMatchObject({ message: 'The decoder ended with code 3.' });
    await expect(ask(imaging, 'report')).resolves.toMatchObject({ tasks: 1 });
    expect(lines.map((line) => JSON.parse(line) as object)).toMatchObject([
      { msg: 'decoder crashed', signalCode: 'SIGSEGV' },
      {
        msg: 'decoder crashed',
        exitCode: 3,
        complaint: expect.stringContaining('the library gave up') as string,
      },
    ]);
  });

  test('its neighbours do not notice', async () => {
    const imaging = bad({ size: 2, wallClockMs: 1000 });
    const tasks = ['crash', 'report', 'report', 'exit', 'report', 'report', 'crash', 'report'];
    const outcomes = await Promise.allSettled(tasks.map((task) => ask(imaging, task)));
    expect(outcomes.map(({ status }) => (status === 'fulfilled' ? 'report' : 'failed'))).toEqual(
      tasks.map((task) => (task === 'report' ? 'report' : 'failed')),
    );
  });

  test('when it cannot even start, every task says so', async () => {
    const imaging = open({ childEntry: new URL('no-such-program.mjs', import.meta.url) });
    await expect(ask(imaging, 'report')).rejects.toMatchObject({ code: 'decoder-crashed' });
    await expect(ask(imaging, 'report')).rejects.toMatchObject({ code: 'decoder-crashed' });
  });
});

describe('a child', () => {
  test('is told nothing of its parent’s environment, and yields to it', async () => {
    vi.stubEnv('MBK_JWT_SECRET', 'a secret that nobody may read');
    vi.stubEnv('DATABASE_URL', 'postgres://user:password@host/db');
    const { env, priority, argv } = await ask(open({ childEntry: misbehavingChild }), 'report');
    vi.unstubAllEnvs();
    const named = Object.keys(env).filter((name) => !name.startsWith('NODE_CHANNEL'));
    expect(named.sort()).toEqual([
      'MALLOC_ARENA_MAX',
      'MALLOC_MMAP_THRESHOLD_',
      'MALLOC_TRIM_THRESHOLD_',
      'NODE_ENV',
      'UV_THREADPOOL_SIZE',
      'VIPS_BLOCK_UNTRUSTED',
      'VIPS_DISC_THRESHOLD',
    ]);
    expect(priority).toBe(10);
    // Without it child.ts could not give back what finished pictures have left.
    expect(argv).toContain('--expose-gc');
  });

  test('is replaced after so many tasks', async () => {
    const imaging = open({ childEntry: misbehavingChild, recycleAfter: 2 });
    const pids: number[] = [];
    for (let i = 0; i < 5; i++) pids.push((await ask(imaging, 'report')).pid);
    expect(new Set(pids).size).toBe(3);
    expect(pids[0]).toBe(pids[1]);
    expect(pids.slice(0, 4).some(isAlive)).toBe(false);
  });

  test('is the same for many tasks otherwise, and dies with the pool', async () => {
    const imaging = open({ childEntry: misbehavingChild });
    const first = await ask(imaging, 'report');
    const second = await ask(imaging, 'report');
    expect(second).toMatchObject({ pid: first.pid, tasks: 2 });
    await imaging.close();
    expect(isAlive(first.pid)).toBe(false);
    await expect(ask(imaging, 'report')).rejects.toMatchObject({ code: 'aborted' });
  });

  test('dies when its parent is killed, idle or working', async () => {
    const entry = await builtEntry(new URL('../../../test/fixtures/decoder-parent.ts', import.meta.url));
    const parent = spawn(process.execPath, [fileURLToPath(entry), misbehavingChild.href], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [line] = (await once(parent.stdout, 'data')) as [Buffer];
    const children = JSON.parse(line.toString()) as number[];
    expect(children.map(isAlive)).toEqual([true, true]);
    const gone = once(parent, 'exit');
    parent.kill('SIGKILL');
    await gone;
    await vi.waitFor(() => expect(children.map(isAlive)).toEqual([false, false]), {
      timeout: 5000,
      interval: 10,
    });
  });
});

describe('who waits', () => {
  test('may give up: the child that works for him is killed', async () => {
    const imaging = open({ childEntry: misbehavingChild });
    const { pid } = await ask(imaging, 'report');
    const caller = new AbortController();
    const render = ask(imaging, 'hang', caller.signal);
    setTimeout(() => caller.abort(new Error('gone')), 20);
    await expect(render).rejects.toMatchObject({ code: 'aborted', cause: { message: 'gone' } });
    expect(isAlive(pid)).toBe(false);
  });

  test('may give up before it is his turn: nobody is killed', async () => {
    const imaging = open({ childEntry: misbehavingChild, wallClockMs: 300 });
    const hanging = ask(imaging, 'hang');
    const caller = new AbortController();
    const waiting = ask(imaging, 'report', caller.signal);
    await new Promise(setImmediate);
    caller.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'aborted' });
    await expect(ask(imaging, 'report', AbortSignal.abort())).rejects.toMatchObject({ code: 'aborted' });
    await expect(hanging).rejects.toMatchObject({ code: 'decoder-timeout' });
  });

  test('is refused when too many wait already', async () => {
    const imaging = open({ childEntry: misbehavingChild, maxWaiting: 2 });
    const outcomes = await Promise.allSettled(Array.from({ length: 5 }, () => ask(imaging, 'report')));
    const refused = outcomes.filter(({ status }) => status === 'rejected');
    expect(refused.map((outcome) => (outcome as PromiseRejectedResult).reason as object)).toMatchObject([
      { code: 'overloaded', limit: 2 },
      { code: 'overloaded', limit: 2 },
    ]);
  });

  test('with a probe goes before those with renders', async () => {
    const imaging = open({ childEntry: misbehavingChild });
    const order: string[] = [];
    const note = (name: string) => (): void => void order.push(name);
    await ask(imaging, 'report');
    const path = join(folder, 'report');
    const render = (name: string): Promise<void> =>
      imaging.render({ path, recipes, outputFolder: folder }).then(note(name));
    const probe = imaging.probe.bind(imaging, { path });
    await Promise.all([render('render 1'), render('render 2'), probe().then(note('probe'))]);
    expect(order).toHaveLength(3);
    expect(order.at(-1)).toBe('render 2');
  });

  test('fails as aborted when the pool is closed', async () => {
    const imaging = open({ childEntry: misbehavingChild });
    // Written beforehand, so that the order of asking is the order of the calls.
    const paths = [await stored('hang', Buffer.from('hang')), await stored('report', Buffer.from('report'))];
    const asked = paths.map((path) =>
      imaging.render({ path, recipes, outputFolder: folder }).catch((error: unknown) => error),
    );
    await imaging.close();
    expect(await Promise.all(asked)).toMatchObject([{ code: 'aborted' }, { code: 'aborted' }]);
  });
});

async function stored(name: string, bytes: Buffer): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, bytes);
  return path;
}

describe('the real child', () => {
  let imaging: Imaging;
  beforeAll(() => {
    imaging = createImaging({ ...defaults, childEntry: realChild, size: 2 });
  });
  afterAll(() => imaging.close());

  test('probes a file, its bytes and its beginning', async () => {
    const formats: readonly PictureFormat[] = ['jpeg', 'png', 'webp', 'gif', 'avif'];
    for (const format of formats) {
      const bytes = await photo({ width: 320, height: 240, format });
      const facts = { format, width: 320, height: 240, frames: 1, orientation: 1 };
      await expect(imaging.probe({ path: await stored(format, bytes) })).resolves.toMatchObject(facts);
      await expect(imaging.probe({ bytes, complete: true })).resolves.toMatchObject(facts);
      if (format === 'gif') continue; // a GIF's frames are wherever they are
      await expect(imaging.probe({ bytes: bytes.subarray(0, 4096), complete: false })).resolves.toMatchObject(
        facts,
      );
    }
  });

  test('says when a head ends before the size is known, and finds it in the whole', async () => {
    const bytes = await cmykPhoto({ width: 320, height: 240 }); // 960 KB of profile before the size
    const size = { width: 320, height: 240 };
    await expect(imaging.probe({ bytes: bytes.subarray(0, 4096), complete: false })).rejects.toMatchObject({
      code: 'header-incomplete',
      permanent: false,
    });
    await expect(imaging.probe({ bytes, complete: false })).resolves.toMatchObject(size);
    await expect(imaging.probe({ path: await stored('cmyk', bytes) })).resolves.toMatchObject(size);
    await expect(imaging.probe({ bytes: bytes.subarray(0, 4096), complete: true })).rejects.toMatchObject({
      code: 'corrupt-image',
    });
  });

  test('counts frames', async () => {
    const bytes = await animation({ width: 40, height: 30, frames: 7, format: 'webp' });
    await expect(imaging.probe({ bytes, complete: true })).resolves.toMatchObject({
      frames: 7,
      width: 40,
      height: 30,
    });
  });

  test('refuses bombs by their header within a second, at the door and in the workshop', async () => {
    await imaging.probe({ bytes: await photo({ width: 8, height: 8 }), complete: true });
    const files = await bombs();
    for (const [name, bytes] of Object.entries(files)) {
      const refusal = { code: 'too-many-pixels', permanent: true, limit: 50_000_000 };
      const path = await stored('bomb', bytes);
      const begun = performance.now();
      await expect(imaging.probe({ bytes, complete: true }), name).rejects.toMatchObject(refusal);
      await expect(imaging.render({ path, recipes, outputFolder: folder }), name).rejects.toMatchObject(
        refusal,
      );
      expect(performance.now() - begun, name).toBeLessThan(1000);
    }
    for (const [name, bytes] of Object.entries(await impossible())) {
      await expect(imaging.probe({ bytes, complete: true }), name).rejects.toMatchObject({
        code: 'corrupt-image',
      });
    }
  });

  test('tells how many pixels were too many', async () => {
    const strict = open({ maxPixels: 1000 });
    const bytes = await photo({ width: 40, height: 30 });
    const refusal = { code: 'too-many-pixels', limit: 1000, actual: 1200 };
    await expect(strict.probe({ bytes, complete: true })).rejects.toMatchObject(refusal);
    await expect(strict.probe({ bytes, complete: false })).rejects.toMatchObject(refusal);
  });

  test('is killed when a picture within the pixel limit needs too much memory', async () => {
    const small = open({ memoryLimitBytes: 160 * 2 ** 20 });
    const path = await stored('hungry.png', hungryPng(4500));
    await expect(small.render({ path, recipes, outputFolder: folder })).rejects.toMatchObject({
      code: 'decoder-memory',
    });
    const good = await stored('good.jpg', await photo({ width: 100, height: 80 }));
    await expect(small.render({ path: good, recipes, outputFolder: folder })).resolves.toBeDefined();
  });

  test('never rasterises SVG, and takes no page for a picture', async () => {
    const files = { svgPicture, svgBomb, pageNamedPicture, gifThatIsAPage };
    for (const [name, make] of Object.entries(files)) {
      const path = await stored(`${name}.jpg`, make());
      const code = name === 'gifThatIsAPage' ? 'corrupt-image' : 'unsupported-codec';
      await expect(imaging.render({ path, recipes, outputFolder: folder }), name).rejects.toMatchObject({
        code,
      });
      await expect(imaging.probe({ path }), name).rejects.toMatchObject({ code });
    }
  });

  test('renders files into the folder, one picture after the other', async () => {
    const pictures = await Promise.all(
      [1, 2, 3, 4, 5, 6].map((seed) => photo({ width: 300, height: 200, seed })),
    );
    const rendered = await Promise.all(
      pictures.map(async (bytes, i) => {
        const outputFolder = await mkdtemp(join(folder, 'out-'));
        const path = await stored(`${i}.jpg`, bytes);
        const { images } = await imaging.render({ path, recipes, outputFolder });
        expect(await readdir(outputFolder)).toEqual(['thumbnail.webp']);
        return images[0]!.sha256.toString('hex');
      }),
    );
    expect(new Set(rendered).size).toBe(6);
  });

  test('says what is wrong when the file or the folder is not there', async () => {
    const path = join(folder, 'absent.jpg');
    await expect(imaging.render({ path, recipes, outputFolder: folder })).rejects.toMatchObject({
      code: 'decoder-crashed',
      permanent: false,
      message: expect.stringContaining('ENOENT') as string,
    });
  });
});
