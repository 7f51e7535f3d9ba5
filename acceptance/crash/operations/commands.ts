import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import {
  demand,
  expectStatus,
  newProject,
  send,
  sha256,
  uploaded,
  wholeFiles,
  type Operation,
  type Scene,
} from '../scene.js';
import type { Installation } from '../installation.js';

/** The sweep that deletes: an orphan goes into quarantine, a lost variant is made again. */
const sweep: Operation = {
  name: 'sweep',
  victim: 'command',
  steps: { postgres: 10, disk: 10, s3: 5 },
  async prepare(scene) {
    const { store, db, work, passTime } = scene.installation;
    const project = await newProject(scene);
    const { id } = await uploaded(scene, project, 'a.jpg', scene.picture);
    await work();
    const orphan = `${project}/files/${randomUUID()}.bin`;
    await store.put(orphan, scene.random.bytes(5_000));
    const { rows } = await db.query<{ key: string }>(
      'SELECT s3_key AS key FROM variants WHERE file_id = $1',
      [id],
    );
    for (const { key } of rows) await store.delete(key);
    await passTime();
    return {
      args: ['cleanup', 'sweep', '--delete'],
      acknowledged: () => true,
      async check() {
        demand(!(await store.keys()).includes(orphan), 'the orphan is still at its place');
        const names = await wholeFiles(scene, project, { 'a.jpg': scene.picture });
        demand(names.length === 1, 'the file is gone');
      },
    };
  },
};

/** Blobs of what was deleted go. */
const purge: Operation = {
  name: 'purge-blobs',
  victim: 'command',
  steps: { postgres: 10, disk: 10, s3: 5 },
  async prepare(scene) {
    const project = await newProject(scene);
    for (const name of ['a.bin', 'b.bin']) {
      const { id } = await uploaded(scene, project, name, scene.random.bytes(5_000));
      expectStatus(
        'the deletion that a trial needs',
        await scene.api.call('DELETE', `/files/${id}?permanent=true`),
        204,
      );
    }
    await scene.installation.passTime();
    return {
      args: ['cleanup', 'blobs'],
      acknowledged: () => true,
      async check() {
        const left = (await scene.installation.store.keys()).filter((key) => key.startsWith(project));
        demand(left.length === 0, `left behind: ${left.join(', ')}`);
      },
    };
  },
};

/** What was in the trash for too long goes. */
const trash: Operation = {
  name: 'purge-trash',
  victim: 'command',
  steps: { postgres: 10, disk: 10, s3: 5 },
  async prepare(scene) {
    const project = await newProject(scene);
    const kept = scene.random.bytes(4_000);
    await uploaded(scene, project, 'kept.bin', kept);
    const { id } = await uploaded(scene, project, 'a.bin', scene.random.bytes(5_000));
    expectStatus('the deletion that a trial needs', await scene.api.call('DELETE', `/files/${id}`), 204);
    await scene.installation.db.query(
      `UPDATE files SET deleted_at = deleted_at - interval '40 days' WHERE id = $1`,
      [id],
    );
    return {
      args: ['cleanup', 'trash'],
      acknowledged: () => true,
      async check() {
        const { api } = scene;
        demand((await api.files(project, '&trash=true')).length === 0, 'it is still in the trash');
        const names = await wholeFiles(scene, project, { 'kept.bin': kept });
        demand(names.length === 1, 'what was not in the trash is gone');
      },
    };
  },
};

/** Uploads that nobody goes on with are given up, with what they have stored. */
const expire: Operation = {
  name: 'expire-uploads',
  victim: 'command',
  steps: { postgres: 10, disk: 10, s3: 5 },
  async prepare(scene) {
    const project = await newProject(scene);
    const headers = { 'tus-resumable': '1.0.0' };
    const made = await send(scene.api, 'POST', `/projects/${project}/tus`, undefined, {
      ...headers,
      'upload-length': '20000',
    });
    expectStatus('POST', made, 201);
    const path = new URL(made.headers.get('location') ?? '').pathname;
    const patched = await send(scene.api, 'PATCH', path, scene.random.bytes(9_000), {
      ...headers,
      'upload-offset': '0',
      'content-type': 'application/offset+octet-stream',
    });
    expectStatus('PATCH', patched, 204);
    await scene.installation.passTime();
    return {
      args: ['cleanup', 'uploads'],
      acknowledged: () => true,
      async check() {
        demand((await wholeFiles(scene, project, {})).length === 0, 'a file came of it');
      },
    };
  },
};

interface ToCopy {
  readonly project: string;
  readonly files: readonly { readonly id: string; readonly bytes: Buffer }[];
}

/** A copy changes nothing, so all trials have the same files; with more each time its steps would never come to an end. */
const copied = new WeakMap<Installation, Promise<ToCopy>>();

function stockToCopy(scene: Scene): Promise<ToCopy> {
  const stocking = (async () => {
    const project = await newProject(scene);
    const files = await Promise.all(
      ['a', 'b', 'c'].map(async (name) => {
        const bytes = scene.random.bytes(8_000);
        return { bytes, id: (await uploaded(scene, project, `${name}.bin`, bytes)).id };
      }),
    );
    return { project, files };
  })();
  copied.set(scene.installation, stocking);
  return stocking;
}

/** All blobs into another store. */
const copy: Operation = {
  name: 'storage-copy',
  victim: 'command',
  steps: { postgres: 10, disk: 10, s3: 5 },
  async prepare(scene) {
    const { project, files } = await (copied.get(scene.installation) ?? stockToCopy(scene));
    const target = join(scene.installation.folder, `copy-${randomUUID()}`);
    return {
      args: ['storage', 'copy', '--from', 'current', '--to', `disk:${target}`, '--parallel', '1'],
      acknowledged: () => true,
      async check() {
        for (const { id, bytes } of files) {
          const copied = await readFile(join(target, project, 'files', `${id}.bin`));
          demand(sha256(copied) === sha256(bytes), `the copy of ${id} is something else`);
        }
      },
    };
  },
};

/** What the timetable and people do by command. */
export const commands: readonly Operation[] = [sweep, purge, trash, expire, copy];
