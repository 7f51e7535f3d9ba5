import type { Api, FileView } from '../../api.js';
import {
  demand,
  expectStatus,
  holds,
  newProject,
  send,
  sha256,
  wholeFiles,
  type Operation,
  type Scene,
  type Trial,
} from '../scene.js';

const mebibyte = 1024 * 1024;

/** A form with a picture and other bytes: both or neither. */
const multipart: Operation = {
  name: 'upload-multipart',
  victim: 'api',
  steps: { postgres: 10, disk: 10, s3: 5 },
  async prepare(scene) {
    const project = await newProject(scene);
    const sent = { 'a.jpg': scene.picture, 'b.bin': scene.random.bytes(70_000) };
    let acknowledged = false;
    return {
      async act(api) {
        const form = new FormData();
        form.append('file', new Blob([sent['a.jpg']]), 'a.jpg');
        form.append('file', new Blob([sent['b.bin']]), 'b.bin');
        expectStatus('the upload', await api.call('POST', `/projects/${project}/upload`, form), 201);
        acknowledged = true;
      },
      acknowledged: () => acknowledged,
      async check() {
        const { length } = await wholeFiles(scene, project, sent);
        demand(acknowledged ? length === 2 : length === 0 || length === 2, `${length} files of two`);
      },
    };
  },
};

/** Bare bytes under an idempotency key: the client asks again until it is told, and there is one file. */
const raw: Operation = {
  name: 'upload-raw',
  victim: 'api',
  steps: { postgres: 10, disk: 10, s3: 5 },
  async prepare(scene) {
    const project = await newProject(scene);
    const bytes = scene.random.bytes(50_000);
    const headers = { 'idempotency-key': sha256(bytes), 'content-type': 'application/octet-stream' };
    const put = (api: Api) =>
      send(api, 'PUT', `/projects/${project}/upload?filename=raw.bin`, bytes, headers);
    const told: string[] = [];
    const idOf = (text: string): string => (JSON.parse(text) as FileView).id;
    return {
      async act(api) {
        const answer = await put(api);
        expectStatus('the upload', answer, 201);
        told.push(idOf(answer.text));
      },
      async resume() {
        // The first request may count as under way until it has been silent for long enough.
        const answer = await put(scene.api);
        expectStatus('the same upload again', answer, 200, 201, 409);
        if (answer.status !== 409) told.push(idOf(answer.text));
      },
      acknowledged: () => told.length > 0,
      async check() {
        const answer = await put(scene.api);
        expectStatus('the same upload once more', answer, 200, 201);
        told.push(idOf(answer.text));
        demand(new Set(told).size === 1, `one key made the files ${told.join(', ')}`);
        const names = await wholeFiles(scene, project, { 'raw.bin': bytes });
        demand(names.length === 1, `${names.length} files under one key`);
      },
    };
  },
};

/** A resumable upload in two requests, continued where it was cut off. */
function tus(name: string, size: number): Operation {
  return {
    name,
    victim: 'api',
    steps: { postgres: 10, disk: 10, s3: 5 },
    async prepare(scene) {
      const project = await newProject(scene);
      const bytes = scene.random.bytes(size);
      const version = { 'tus-resumable': '1.0.0' };
      let location: string | undefined;
      let done = false;
      const patch = async (api: Api, from: number, to: number): Promise<void> => {
        const answer = await send(api, 'PATCH', location ?? '', bytes.subarray(from, to), {
          ...version,
          'upload-offset': String(from),
          'content-type': 'application/offset+octet-stream',
        });
        expectStatus('PATCH', answer, 204);
        if (to === size) done = true;
      };
      return {
        async act(api) {
          const made = await send(api, 'POST', `/projects/${project}/tus`, undefined, {
            ...version,
            'upload-length': String(size),
            'upload-metadata': `filename ${Buffer.from('tus.bin').toString('base64')}`,
          });
          expectStatus('POST', made, 201);
          location = new URL(made.headers.get('location') ?? '').pathname;
          const half = Math.floor(size / 2);
          await patch(api, 0, half);
          await patch(api, half, size);
        },
        async resume() {
          if (location === undefined || done) return;
          // The dead process may still hold the upload; its lock runs out.
          await scene.installation.db.query('UPDATE uploads SET lock_until = now() WHERE lock_until > now()');
          const head = await send(scene.api, 'HEAD', location, undefined, version);
          expectStatus('HEAD', head, 200, 204);
          const offset = Number(head.headers.get('upload-offset'));
          if (offset < size) await patch(scene.api, offset, size);
          done = true;
        },
        acknowledged: () => done,
        async check() {
          const { length } = await wholeFiles(scene, project, { 'tus.bin': bytes });
          demand(length === (done ? 1 : 0), `${length} files, ${done ? '' : 'not '}finished`);
        },
      };
    },
  };
}

interface DirectUpload {
  readonly id: string;
  readonly put?: { readonly url: string; readonly headers: Readonly<Record<string, string>> };
}

/** Declared, sent to the store, completed; a client that is cut off asks to complete again. */
function direct(via: 'put' | 'multipart', size: number): Operation {
  return {
    name: `direct-${via}`,
    victim: 'api',
    steps: { postgres: 10, disk: 10, s3: 5 },
    async prepare(scene) {
      const project = await newProject(scene);
      const bytes = scene.random.bytes(size);
      const part = 8 * mebibyte;
      let id: string | undefined;
      let arrived = false;
      let done = false;
      const complete = async (api: Api): Promise<void> => {
        const answer = await send(api, 'POST', `/projects/${project}/uploads/${id}/complete`, undefined);
        expectStatus('complete', answer, 200, 201, 202, 409);
        done = done || answer.status === 200 || answer.status === 201;
      };
      return {
        async act(api) {
          const declared = await api.call<DirectUpload>('POST', `/projects/${project}/uploads`, {
            filename: 'direct.bin',
            size,
            via,
          });
          expectStatus('the declaration', declared, 201);
          ({ id } = declared.body);
          if (via === 'put') {
            const { url, headers } = sender(declared.body);
            expectStatus('PUT', await send(api, 'PUT', url, bytes, headers), 200, 201, 204);
          } else await sendParts(api, `/projects/${project}/uploads/${id}/parts`, bytes, part);
          arrived = true;
          await complete(api);
        },
        async resume() {
          if (arrived && !done) await complete(scene.api);
        },
        acknowledged: () => done,
        async check() {
          const { length } = await wholeFiles(scene, project, { 'direct.bin': bytes });
          demand(done ? length === 1 : length <= 1, `${length} files, ${done ? '' : 'not '}acknowledged`);
        },
      };
    },
  };
}

function sender(body: DirectUpload): { url: string; headers: Readonly<Record<string, string>> } {
  demand(body.put !== undefined, `the answer has no address: ${JSON.stringify(body)}`);
  return body.put;
}

async function sendParts(api: Api, path: string, bytes: Buffer<ArrayBuffer>, size: number): Promise<void> {
  const numbers = Array.from({ length: Math.ceil(bytes.length / size) }, (_, at) => at + 1);
  const { status, body } = await api.call<{ data: readonly { number: number; url: string }[] }>(
    'POST',
    path,
    {
      numbers,
    },
  );
  expectStatus('the addresses of parts', { status, body }, 200);
  for (const { number, url } of body.data) {
    const answer = await send(api, 'PUT', url, bytes.subarray((number - 1) * size, number * size));
    expectStatus(`PUT of part ${number}`, answer, 200, 201, 204);
  }
}

/** A worker fetches a file from the web. */
const imported: Operation = {
  name: 'import',
  victim: 'worker',
  steps: { postgres: 10, disk: 10, s3: 5 },
  async prepare(scene): Promise<Trial> {
    const project = await newProject(scene);
    const order = await scene.api.call<{ id: string }>('POST', `/projects/${project}/import`, {
      url: `${scene.source}/picture.jpg`,
    });
    expectStatus('the order of an import', order, 202);
    return {
      acknowledged: () => true,
      async check() {
        const { body } = await scene.api.call<{ status: string; file: FileView | null }>(
          'GET',
          `/projects/${project}/imports/${order.body.id}`,
        );
        demand(body.status === 'completed', `the import is ${body.status}: ${JSON.stringify(body)}`);
        await oneFile(scene, project, 'picture.jpg', scene.picture);
      },
    };
  },
};

async function oneFile(
  scene: Scene,
  project: string,
  name: string,
  bytes: Buffer<ArrayBuffer>,
): Promise<void> {
  const names = await wholeFiles(scene, project, { [name]: bytes });
  demand(names.length === 1, `${names.length} files instead of one`);
}

/** A worker makes a picture's variants. */
const render: Operation = {
  name: 'variant',
  victim: 'worker',
  steps: { postgres: 10, disk: 10, s3: 5 },
  async prepare(scene) {
    const project = await newProject(scene);
    const { status, body } = await scene.api.upload(project, 'a.jpg', scene.picture, 'image/jpeg');
    expectStatus('the upload that a trial needs', { status, body }, 201);
    return {
      acknowledged: () => true,
      async check() {
        await oneFile(scene, project, 'a.jpg', scene.picture);
        demand(await holds(scene.api, body.id, scene.picture), 'the original reads back as something else');
      },
    };
  },
};

/** Bytes in. */
export const uploads: readonly Operation[] = [
  multipart,
  raw,
  tus('upload-tus', 300_000),
  tus('upload-tus-parts', 9 * mebibyte),
  direct('put', 120_000),
  direct('multipart', 9 * mebibyte),
  imported,
  render,
];
