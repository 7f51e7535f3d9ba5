import {
  demand,
  expectStatus,
  holds,
  newProject,
  uploaded,
  variants,
  wholeFiles,
  type Operation,
  type Scene,
  type Trial,
} from '../scene.js';

/** A project with a picture and other bytes, and what to look for afterwards. */
async function stock(scene: Scene) {
  const project = await newProject(scene);
  const sent = { 'a.jpg': scene.picture, 'b.bin': scene.random.bytes(20_000) };
  const a = await uploaded(scene, project, 'a.jpg', sent['a.jpg']);
  const b = await uploaded(scene, project, 'b.bin', sent['b.bin']);
  return { project, sent, a, b, path: `/projects/${project}` };
}

/** One request whose answer, if it comes, promises something. */
function request(
  name: string,
  status: number,
  prepare: (scene: Scene) => Promise<{
    readonly method: string;
    readonly path: string;
    readonly body?: unknown;
    /** @param promised the answer came. */
    check(promised: boolean): Promise<void>;
  }>,
): Operation {
  return {
    name,
    victim: 'api',
    steps: { postgres: 10, disk: 10, s3: 5 },
    async prepare(scene): Promise<Trial> {
      const { method, path, body, check } = await prepare(scene);
      let acknowledged = false;
      return {
        async act(api) {
          expectStatus(name, await api.call(method, path, body), status);
          acknowledged = true;
        },
        acknowledged: () => acknowledged,
        check: () => check(acknowledged),
      };
    },
  };
}

/** Done when it was promised; else done or not, and nothing in between. */
function doneOr(promised: boolean, done: boolean, undone: boolean, what: string): void {
  demand(
    done || (undone && !promised),
    `${what}: ${promised ? 'promised, ' : ''}done ${done}, undone ${undone}`,
  );
}

async function statusOf({ api }: Scene, path: string): Promise<number> {
  return (await api.call('GET', path)).status;
}

const softDelete = request('soft-delete', 204, async (scene) => {
  const { project, sent, a } = await stock(scene);
  return {
    method: 'DELETE',
    path: `/files/${a.id}`,
    async check(promised) {
      const names = await wholeFiles(scene, project, sent);
      const trash = await scene.api.files(project, '&trash=true');
      const done =
        names.length === 1 && trash.length === 1 && (await statusOf(scene, `/files/${a.id}`)) === 404;
      doneOr(promised, done, names.length === 2 && trash.length === 0, 'the file is in the trash');
    },
  };
});

const hardDelete = request('hard-delete', 204, async (scene) => {
  const { project, sent, a } = await stock(scene);
  return {
    method: 'DELETE',
    path: `/files/${a.id}?permanent=true`,
    async check(promised) {
      const names = await wholeFiles(scene, project, sent);
      const trash = await scene.api.files(project, '&trash=true');
      demand(trash.length === 0, 'it is in the trash');
      doneOr(promised, names.length === 1, names.length === 2, 'the file is gone');
    },
  };
});

const restore = request('restore', 200, async (scene) => {
  const { project, sent, a } = await stock(scene);
  expectStatus('the deletion that a trial needs', await scene.api.call('DELETE', `/files/${a.id}`), 204);
  return {
    method: 'POST',
    path: `/files/${a.id}/restore`,
    async check(promised) {
      const names = await wholeFiles(scene, project, sent);
      const trash = await scene.api.files(project, '&trash=true');
      const back = names.length === 2 && trash.length === 0 && (await holds(scene.api, a.id, scene.picture));
      doneOr(promised, back, names.length === 1 && trash.length === 1, 'the file is back');
    },
  };
});

const bulkDelete = request('bulk-delete', 202, async (scene) => {
  const { project, sent, path } = await stock(scene);
  return {
    method: 'POST',
    path: `${path}/files/delete`,
    body: { filter: {}, permanent: true },
    async check(promised) {
      const { length } = await wholeFiles(scene, project, sent);
      doneOr(promised, length === 0, length === 2, 'all files are gone');
    },
  };
});

const projectDelete = request('project-delete', 204, async (scene) => {
  const { project, sent, path } = await stock(scene);
  return {
    method: 'DELETE',
    path: `${path}?permanent=true`,
    async check(promised) {
      const gone = (await statusOf(scene, path)) === 404;
      if (!gone) await wholeFiles(scene, project, sent);
      doneOr(promised, gone, !gone, 'the project is gone');
    },
  };
});

const projectRestore = request('project-restore', 200, async (scene) => {
  const { project, sent, path } = await stock(scene);
  expectStatus('the deletion that a trial needs', await scene.api.call('DELETE', path), 204);
  return {
    method: 'POST',
    path: `${path}/restore`,
    async check(promised) {
      const back = (await statusOf(scene, path)) === 200;
      if (back)
        demand((await wholeFiles(scene, project, sent)).length === 2, 'it came back without its files');
      doneOr(promised, back, !back, 'the project is back');
    },
  };
});

/** Variants are replaced: every picture gets a new key, and the old one is buried. */
const regenerate = request('regenerate', 202, async (scene) => {
  const { project, sent, path } = await stock(scene);
  await scene.installation.work();
  return {
    method: 'POST',
    path: `${path}/variants/regenerate`,
    body: {},
    async check() {
      demand((await wholeFiles(scene, project, sent)).length === 2, 'a file is missing');
    },
  };
});

/** What a worker does about an order that was acknowledged. */
function ordered(
  name: string,
  order: (scene: Scene, of: Awaited<ReturnType<typeof stock>>) => Promise<void>,
  check: (scene: Scene, of: Awaited<ReturnType<typeof stock>>) => Promise<void>,
): Operation {
  return {
    name,
    victim: 'worker',
    steps: { postgres: 10, disk: 10, s3: 5 },
    async prepare(scene) {
      const of = await stock(scene);
      await scene.installation.work();
      await order(scene, of);
      return { acknowledged: () => true, check: () => check(scene, of) };
    },
  };
}

const regenerateWork = ordered(
  'regenerate-work',
  async ({ api }, { path }) => {
    // Another recipe under the same name: the pictures are replaced.
    const settings = { variants: { thumb: { ...variants.thumb, width: 40 } } };
    expectStatus('the change of a recipe', await api.call('PUT', path, { settings }), 200);
  },
  async (scene, { project, sent, a }) => {
    demand((await wholeFiles(scene, project, sent)).length === 2, 'a file is missing');
    const { width } = (await scene.api.file(a.id)).variants['thumb'] ?? {};
    demand(width === 40, `the variant is ${width} wide, not as the settings say`);
  },
);

const bulkDeleteWork = ordered(
  'bulk-delete-work',
  async ({ api }, { path }) => {
    const answer = await api.call('POST', `${path}/files/delete`, { filter: {}, permanent: true });
    expectStatus('the order of a deletion', answer, 202);
  },
  async (scene, { project, sent }) => {
    demand((await wholeFiles(scene, project, sent)).length === 0, 'a file is still there');
  },
);

const projectDeleteWork = ordered(
  'project-delete-work',
  async ({ api }, { path }) => {
    expectStatus('the deletion of a project', await api.call('DELETE', `${path}?permanent=true`), 204);
  },
  async (scene, { project, path }) => {
    demand((await statusOf(scene, path)) === 404, 'the project is still there');
    const { rows } = await scene.installation.db.query('SELECT FROM projects WHERE id = $1', [project]);
    demand(rows.length === 0, 'its row is still there');
  },
);

/** Out of sight, back, and gone. */
export const lifecycle: readonly Operation[] = [
  softDelete,
  hardDelete,
  restore,
  bulkDelete,
  bulkDeleteWork,
  projectDelete,
  projectDeleteWork,
  projectRestore,
  regenerate,
  regenerateWork,
];
