import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { Api, type FileView } from './api.js';
import { look, photo } from './pictures.js';
import { startServer, temporaryFolder, until, type RunningServer } from './running-server.js';

interface Regeneration {
  readonly status: string;
  readonly filesTotal: number;
  readonly filesSeen: number;
  readonly variantsPlanned: number;
  readonly jobsOpen: number;
}

interface ChangedProject {
  readonly variantChanges: {
    readonly added: readonly string[];
    readonly changed: readonly string[];
    readonly removed: readonly string[];
    readonly stalePictures: number;
    readonly regenerationId: string;
  };
}

const browser = { accept: 'image/avif,image/webp,image/*,*/*;q=0.8' };

describe('pictures that are derived later', () => {
  let folder: Awaited<ReturnType<typeof temporaryFolder>>;
  let server: RunningServer;
  let me: Api;
  let bytes: Buffer<ArrayBuffer>;

  beforeAll(async () => {
    folder = await temporaryFolder();
    server = await startServer({ dataFolder: folder.path });
    me = await Api.register(server.url);
    bytes = await photo(900, 600);
  });
  afterAll(async () => {
    await server.stop();
    await folder.remove();
  });

  const upload = async (project: string): Promise<FileView> => {
    const { body } = await me.upload(project, 'a.jpg', bytes, 'image/jpeg');
    await until(`${body.id} is processed`, 30, async () => (await me.file(body.id)).status !== 'processing');
    return me.file(body.id);
  };
  const fetchPicture = async (url: string, headers: Record<string, string> = {}) => {
    const answer = await fetch(url, { headers });
    const seen = await look(Buffer.from(await answer.arrayBuffer()));
    return { status: answer.status, headers: answer.headers, seen };
  };

  it('follow a change of the settings, and are served as they were until then', async () => {
    const project = await me.project({
      visibility: 'public',
      variants: { card: { width: 60 }, gone: { width: 10 } },
    });
    const files = [await upload(project), await upload(project), await upload(project)];
    const changed = await me.call<ChangedProject>('PUT', `/projects/${project}`, {
      settings: { variants: { card: { width: 90 }, extra: { width: 30 } } },
    });
    expect(changed.status).toBe(200);
    const { variantChanges } = changed.body;
    expect(variantChanges).toMatchObject({
      added: ['extra'],
      changed: ['card'],
      removed: ['gone'],
      stalePictures: 3,
    });
    // At no moment is there nothing.
    const one = files[0]!.variants['card']!.url;
    expect([60, 90]).toContain((await fetchPicture(one)).seen.width);
    const path = `/projects/${project}/regenerations/${variantChanges.regenerationId}`;
    const progress = async () => (await me.call<Regeneration>('GET', path)).body;
    await until('the variants are made anew', 60, async () => (await progress()).status === 'completed');
    expect(await progress()).toMatchObject({ filesTotal: 3, filesSeen: 3, variantsPlanned: 3, jobsOpen: 0 });
    for (const { id } of files) {
      const file = await me.file(id);
      expect(file).toMatchObject({ status: 'ready', variants: { card: { status: 'ready', width: 90 } } });
      expect((await fetchPicture(file.variants['card']!.url)).seen.width).toBe(90);
      expect((await fetchPicture(file.variants['gone']!.url)).seen.width).toBe(10);
    }
    // The old address leads to the new picture.
    const moved = await fetch(one, { redirect: 'manual' });
    expect([moved.status, moved.headers.get('location')]).toEqual([
      302,
      (await me.file(files[0]!.id)).variants['card']!.url,
    ]);
    await moved.arrayBuffer();
    const late = await fetchPicture(`${(await me.file(files[1]!.id)).variants['extra']!.url}&wait=20`);
    expect(late.seen.width).toBe(30);
  });

  it('are cut around the focal point that a person sets', async () => {
    const variants = { slice: { width: 60, height: 120, fit: 'cover', position: 'focal', format: 'png' } };
    const { id } = await upload(await me.project({ variants }));
    const brightness = async () => {
      const { seen } = await fetchPicture((await me.file(id)).variants['slice']!.url);
      return seen.corners[0]!;
    };
    const middle = await brightness();
    const { status } = await me.call('PATCH', `/files/${id}`, { focalPoint: { x: 0, y: 0 } });
    expect(status).toBe(200);
    // The white corner of the picture stands at the top left.
    await until('the slice shows the corner', 30, async () => (await brightness()) > 240);
    expect(middle).toBeLessThan(200);
  });

  it('are sent in the best format that a browser knows', async () => {
    const { id } = await upload(
      await me.project({ visibility: 'public', variants: { pic: { width: 80, format: 'auto' } } }),
    );
    const { url } = (await me.file(id)).variants['pic']!;
    const best = await fetchPicture(url, browser);
    expect([best.headers.get('content-type'), best.headers.get('vary')]).toEqual([
      'image/avif',
      expect.stringContaining('Accept'),
    ]);
    const plain = await fetchPicture(`${url}&wait=20`, { accept: '*/*' });
    expect([plain.headers.get('content-type'), plain.seen.width]).toEqual(['image/jpeg', 80]);
  });

  it('are transformed by a signed link, and by it alone', async () => {
    const { id } = await upload(await me.project({ visibility: 'public' }));
    const transform = { width: 120, height: 120, fit: 'cover', rotate: 90, grayscale: true };
    const link = await me.call<{ url: string }>('POST', `/files/${id}/links`, { transform });
    expect(link.status).toBe(201);
    const { seen, headers } = await fetchPicture(link.body.url);
    // What is not there yet is not the original.
    expect(headers.get('x-variant-fallback')).toBe('placeholder');
    expect(seen.width).toBeLessThan(120);
    await until('it is made', 30, async () => (await fetchPicture(link.body.url)).seen.width === 120);
    const unsigned = await fetch(link.body.url.replace(/&(exp|kid|sig)=[^&]*/g, ''));
    expect([unsigned.status, ((await unsigned.json()) as { code: string }).code]).toEqual([403, 'forbidden']);
  });

  it('are shown to an editor before anything is kept', async () => {
    const { id } = await upload(await me.project());
    const answer = await fetch(`${server.url}/files/${id}/preview`, {
      method: 'POST',
      headers: { ...me.headers, 'content-type': 'application/json' },
      body: JSON.stringify({ width: 70, blur: 3 }),
    });
    expect([answer.status, answer.headers.get('content-type')]).toEqual([200, 'image/webp']);
    expect((await look(Buffer.from(await answer.arrayBuffer()))).width).toBe(70);
  });
});
