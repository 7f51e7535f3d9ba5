import { existsSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';

import { expect, it } from 'vitest';

import { Api } from './api.js';
import { photo } from './pictures.js';
import { environment, freePort, run, startServer, temporaryFolder, until } from './running-server.js';

interface Violation {
  readonly check: string;
  readonly subject: string;
}

it('after an older backup was restored, fsck names what differs, and nothing of it is destroyed', async () => {
  const folder = await temporaryFolder();
  const env = { MBK_ORPHAN_GRACE: '1s', MBK_ORPHAN_SWEEP: 'delete', MBK_SWEEP_BRAKE: '100' };
  const settings = { dataFolder: folder.path, env };
  const command = async (...args: string[]) => run(args, environment(settings, await freePort()));
  const backup = join(folder.path, 'monday');

  const server = await startServer(settings);
  const me = await Api.register(server.url);
  const project = await me.project({ variants: {} });
  const upload = async (name: string): Promise<string> => {
    const { status, body } = await me.upload(project, name, await photo(64, 64));
    expect(status).toBe(201);
    return body.id;
  };
  const [kept, lost] = [await upload('kept.jpg'), await upload('lost.jpg')];
  const key = (id: string) => `${project}/files/${id}.jpg`;
  const blob = (id: string) => join(folder.path, 'blobs', key(id));
  expect(await command('backup', '--to', backup)).toMatchObject({ code: 0 });
  // After the backup one file goes for good, and another comes.
  expect((await me.call('DELETE', `/files/${lost}?permanent=true`)).status).toBe(204);
  await until('the blob is gone', 30, () => Promise.resolve(!existsSync(blob(lost))));
  const newer = await upload('newer.jpg');
  expect(await server.stop()).toBe(0);

  const refused = await command('restore', '--from', backup);
  expect(refused).toMatchObject({ code: 1, output: expect.stringContaining('--force') });
  expect(await command('restore', '--from', backup, '--force')).toMatchObject({ code: 0 });

  // Exactly those two differ.
  const checked = await command('fsck', '--deep', '--json');
  expect(checked.code).toBe(1);
  const { violations } = JSON.parse(
    checked.output.split('\n').find((line) => line.startsWith('{"found"')) ?? '',
  ) as {
    readonly violations: readonly Violation[];
  };
  expect(violations.map(({ check, subject }) => `${check} ${subject}`).sort()).toEqual(
    [`blob-missing ${key(lost)}`, `blob-unknown ${key(newer)}`].sort(),
  );
  const swept = await command('cleanup', 'sweep', '--delete');
  expect(swept).toMatchObject({ code: 2, output: expect.stringContaining('restore --done') });

  // The server runs, serves what is there, and destroys nothing by itself.
  const again = await startServer({ ...settings, port: server.port });
  const content = await fetch(`${again.url}/files/${kept}/content`, { headers: me.headers });
  expect(content.status).toBe(200);
  expect(Buffer.from(await content.arrayBuffer())).toEqual(await readFile(blob(kept)));
  expect(await command('cleanup', 'sweep', '--delete')).toMatchObject({ code: 2 });
  expect((await stat(blob(newer))).size).toBeGreaterThan(0);

  // Until somebody has looked.
  expect(await command('restore', '--done')).toMatchObject({ code: 0 });
  const done = await command('cleanup', 'sweep', '--delete', '--json');
  expect(done.output).toContain(`"key":"${key(newer)}"`);
  expect((await stat(join(folder.path, 'blobs/.quarantine', key(newer)))).size).toBeGreaterThan(0);
  expect(await again.stop()).toBe(0);
  await folder.remove();
}, 180_000);
