import { execFile } from 'node:child_process';
import { readFile, stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { Api } from './api.js';
import { look, photo } from './pictures.js';
import {
  environment,
  freePort,
  pause,
  run,
  startServer,
  temporaryFolder,
  type RunningServer,
} from './running-server.js';

const sh = promisify(execFile);

describe('the first minute', () => {
  let folder: Awaited<ReturnType<typeof temporaryFolder>>;
  let server: RunningServer;

  beforeAll(async () => {
    folder = await temporaryFolder();
    server = await startServer({ dataFolder: folder.path });
  });
  afterAll(async () => {
    await server.stop();
    await folder.remove();
  });

  it('prints the address, the data folder and three commands that work when pasted', async () => {
    const text = server.output();
    expect(text).toContain(`http://localhost:${server.port}`);
    expect(text).toContain(folder.path);
    const commands = text.split('\n').filter((line) => /^(TOKEN|PROJECT)=|^curl /.test(line));
    expect(commands).toHaveLength(3);
    await sh('bash', ['-euc', commands.join('\n')], { cwd: folder.path });
    const thumbnail = await look(await readFile(join(folder.path, 'thumbnail.webp')));
    expect(thumbnail).toMatchObject({ format: 'webp', width: 200, height: 200 });
  });

  it('keeps its secrets readable for nobody else', async () => {
    const { mode } = await stat(join(folder.path, 'secrets', 'jwt-secret'));
    expect(mode & 0o077).toBe(0);
  });

  it('fills a project with twelve pictures whose links open without a credential', async () => {
    const { code, output } = await run(['demo'], environment({ dataFolder: folder.path }, server.port));
    expect(output).toMatch(/landscape-12\.png {2}ready/);
    expect(code).toBe(0);
    const links = [...output.matchAll(/https?:\S+/g)].map(([link]) => link);
    expect(links).toHaveLength(12 * 4);
    for (const link of links.slice(-4)) {
      const response = await fetch(link);
      expect(response.status).toBe(200);
      expect(response.headers.get('content-type')).toMatch(/^image\//);
      await response.arrayBuffer();
    }
  });

  it('answers `health` and `config` from the command line', async () => {
    const env = environment({ dataFolder: folder.path }, server.port);
    const health = await run(['health'], env);
    expect(health.code).toBe(0);
    expect(health.output).toContain('"status":"ok"');
    const config = await run(['config'], env);
    expect(config.output).toContain(`PORT`);
    expect(config.output).toContain(String(server.port));
    const secret = await readFile(join(folder.path, 'secrets', 'jwt-secret'), 'utf8');
    expect(config.output).not.toContain(secret.trim());
  });

  it('says in one sentence that the port is taken', async () => {
    const other = await temporaryFolder();
    const { code, output } = await run(['start'], environment({ dataFolder: other.path }, server.port));
    expect(code).toBe(1);
    expect(output).toContain(`Port ${server.port} is taken`);
    expect(output).not.toMatch(/\n\s+at /);
    await other.remove();
  });
});

describe('a command that does not exist', () => {
  it('is refused with the one that was probably meant', async () => {
    const folder = await temporaryFolder();
    const { code, output } = await run(['migrat'], environment({ dataFolder: folder.path }, 8420));
    expect(code).toBe(1);
    expect(output).toContain('Did you mean migrate?');
    await folder.remove();
  });
});

describe('a start that cannot work', () => {
  it('names every fault of the settings at once and prints no value', async () => {
    const folder = await temporaryFolder();
    const env = environment({ dataFolder: folder.path }, 8420);
    const { code, output } = await run(['start'], {
      ...env,
      PORT: 'eighty-four-twenty',
      MBK_JWT_SECRET: 'short-and-secret',
      MBK_UPLOAD_STAIL: '5m',
    });
    expect(code).toBe(1);
    for (const name of ['PORT', 'MBK_JWT_SECRET', 'MBK_UPLOAD_STALE']) expect(output).toContain(name);
    expect(output).not.toContain('eighty-four-twenty');
    expect(output).not.toContain('short-and-secret');
    await folder.remove();
  });

  it('leaves a port that another program holds alone and ends', async () => {
    const folder = await temporaryFolder();
    const port = await freePort();
    const holder = createServer().listen(port, '127.0.0.1');
    const { code, output } = await run(['start'], environment({ dataFolder: folder.path }, port));
    expect([code, output.includes(`Port ${port} is taken`)]).toEqual([1, true]);
    await new Promise((resolve) => holder.close(resolve));
    await folder.remove();
  });
});

describe('a second start', () => {
  it('finds everything as it was', async () => {
    const folder = await temporaryFolder();
    const first = await startServer({ dataFolder: folder.path });
    const me = await Api.register(first.url, 'me@example.com');
    const project = await me.project();
    expect(await first.stop()).toBe(0);

    const second = await startServer({ dataFolder: folder.path, port: first.port });
    const { status } = await me.call('GET', `/projects/${project}`);
    expect(status).toBe(200);
    expect(second.output()).not.toContain('/auth/register');
    expect(await second.stop()).toBe(0);
    await folder.remove();
  });
});

describe('a stop', () => {
  it('does not wait for ever for a request that does', async () => {
    const folder = await temporaryFolder();
    // No worker: the variant never comes.
    const server = await startServer({
      command: 'api',
      dataFolder: folder.path,
      env: { MBK_SHUTDOWN_TIMEOUT: '1s' },
    });
    const me = await Api.register(server.url);
    const { body } = await me.upload(await me.project(), 'a.jpg', await photo(300, 200));
    const waiting = me.call('GET', `/files/${body.id}/content?variant=thumbnail&wait=30`).then(
      () => 'answered',
      () => 'cut off',
    );
    await pause(200);
    const before = performance.now();
    expect(await server.stop()).toBe(0);
    // Far below the 30 s of the request; how far is the machine's business.
    expect(performance.now() - before).toBeLessThan(15_000);
    expect(await waiting).toBe('cut off');
    await folder.remove();
  });
});
