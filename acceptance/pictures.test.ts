import { createHash } from 'node:crypto';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { Api, type FileView } from './api.js';
import { look, oriented, photo } from './pictures.js';
import { startServer, temporaryFolder, until, type RunningServer } from './running-server.js';

describe('a picture', () => {
  let folder: Awaited<ReturnType<typeof temporaryFolder>>;
  let server: RunningServer;
  let me: Api;
  let project: string;

  beforeAll(async () => {
    folder = await temporaryFolder();
    server = await startServer({ dataFolder: folder.path });
    me = await Api.register(server.url);
    project = await me.project();
  });
  afterAll(async () => {
    await server.stop();
    await folder.remove();
  });

  const ready = async (id: string): Promise<FileView> => {
    await until(`${id} is processed`, 30, async () => (await me.file(id)).status !== 'processing');
    return me.file(id);
  };
  const bytesOf = async (url: string): Promise<Buffer> => {
    const response = await fetch(url);
    expect(response.status).toBe(200);
    return Buffer.from(await response.arrayBuffer());
  };

  it('is served in three sizes a moment after its upload', async () => {
    const original = await photo(2400, 1600);
    const { status, headers, body } = await me.upload(project, 'holiday.jpg', original, 'image/jpeg');
    expect(status).toBe(201);
    expect(headers.get('location')).toMatch(new RegExp(`/files/${body.id}$`));
    expect(Object.keys(body.variants).sort()).toEqual(['large', 'medium', 'thumbnail']);

    const file = await ready(body.id);
    expect(file).toMatchObject({ status: 'ready', mimeType: 'image/jpeg', width: 2400, height: 1600 });
    expect(file.sha256).toBe(createHash('sha256').update(original).digest('hex'));
    expect(await bytesOf(file.url)).toEqual(original);
    const sizes = {
      thumbnail: ['webp', 200, 200],
      medium: ['webp', 800, 533],
      large: ['jpeg', 1600, 1067],
    } as const;
    for (const [name, [format, width, height]] of Object.entries(sizes)) {
      const variant = file.variants[name];
      const bytes = await bytesOf(variant?.url ?? '');
      expect(await look(bytes)).toMatchObject({ format, width, height });
      expect(variant).toMatchObject({ status: 'ready', width, height, size: bytes.length });
    }
  });

  it.each([1, 2, 3, 4, 5, 6, 7, 8])(
    'with EXIF orientation %i stands upright in every variant',
    async (orientation) => {
      const upright = await photo(900, 600);
      const { body } = await me.upload(project, `o${orientation}.jpg`, await oriented(upright, orientation));
      const file = await ready(body.id);
      const turned = orientation >= 5;
      expect(file).toMatchObject({ width: turned ? 600 : 900, height: turned ? 900 : 600 });
      const { corners } = await look(await bytesOf(file.variants['medium']?.url ?? ''));
      // Where EXIF says the stored top left corner belongs, clockwise from the top left.
      const corner = [0, 1, 2, 3, 0, 1, 2, 3][orientation - 1] ?? 0;
      expect(corners.indexOf(Math.max(...corners))).toBe(corner);
    },
  );

  it('that is broken ends failed with a reason, and its original stays', async () => {
    const whole = await photo(800, 600);
    const { body } = await me.upload(project, 'cut.jpg', whole.subarray(0, whole.length / 4));
    const file = await ready(body.id);
    expect(file.status).toBe('failed');
    expect(file.failure).toMatch(/\w+/);
    expect((await bytesOf(file.url)).length).toBe(Math.floor(whole.length / 4));
  });

  it('that is no picture is kept as what it is', async () => {
    const html = Buffer.from('<!doctype html><script>alert(1)</script>');
    const { status, body } = await me.upload(project, 'innocent.jpg', html, 'image/jpeg');
    expect([status, body.status]).toEqual([201, 'ready']);
    const response = await fetch(body.url);
    await response.arrayBuffer();
    expect(response.headers.get('content-disposition')).toMatch(/^attachment/);
    expect(response.headers.get('content-type')).not.toMatch(/^image/);
    expect(response.headers.get('x-content-type-options')).toBe('nosniff');
    expect(response.headers.get('content-security-policy')).toContain('sandbox');
  });
});
