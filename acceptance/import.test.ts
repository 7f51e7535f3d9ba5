import { createHash } from 'node:crypto';
import { createServer, type Server } from 'node:http';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { Api, type FileView } from './api.js';
import { photo } from './pictures.js';
import { freePort, startServer, temporaryFolder, until, type RunningServer } from './running-server.js';

interface ImportView {
  readonly id: string;
  readonly status: string;
  readonly url: string;
  readonly file: FileView | null;
  readonly failure: { readonly code: string; readonly detail: string } | null;
}

describe('an import from a URL', () => {
  let folder: Awaited<ReturnType<typeof temporaryFolder>>;
  let server: RunningServer;
  let source: Server;
  let port: number;
  let picture: Buffer;
  let me: Api;
  let project: string;

  beforeAll(async () => {
    picture = await photo(1200, 800);
    port = await freePort();
    source = createServer((request, response) => {
      if (request.url?.startsWith('/photo.jpg') === true) response.end(picture);
      else if (request.url === '/inside') response.writeHead(302, { location: 'http://10.0.0.1/' }).end();
      else if (request.url !== '/never') response.writeHead(404).end('secret words');
    });
    await new Promise<void>((resolve) => source.listen(port, '127.0.0.1', resolve));
    folder = await temporaryFolder();
    server = await startServer({
      dataFolder: folder.path,
      env: { MBK_IMPORT_ALLOW: 'localhost, 127.0.0.2', MBK_IMPORT_PORTS: `80, 443, ${port}` },
    });
    me = await Api.register(server.url);
    project = await me.project();
  });
  afterAll(async () => {
    source.closeAllConnections();
    source.close();
    await server.stop();
    await folder.remove();
  });

  const order = (url: string) => me.call<ImportView>('POST', `/projects/${project}/import`, { url });
  const see = async (id: string): Promise<ImportView> =>
    (await me.call<ImportView>('GET', `/projects/${project}/imports/${id}`)).body;
  const ended = async (id: string): Promise<ImportView> => {
    await until(`import ${id} ends`, 30, async () =>
      ['completed', 'failed'].includes((await see(id)).status),
    );
    return see(id);
  };

  it('becomes a picture with its variants', async () => {
    const { status, headers, body } = await order(`http://localhost:${port}/photo.jpg?token=hush`);
    expect(status).toBe(202);
    expect(headers.get('location')).toMatch(new RegExp(`/projects/${project}/imports/${body.id}$`));
    const { file } = await ended(body.id);
    expect(file).toMatchObject({
      filename: 'photo.jpg',
      mimeType: 'image/jpeg',
      size: picture.length,
      sha256: createHash('sha256').update(picture).digest('hex'),
    });
    const id = file?.id ?? '';
    await until('it is processed', 30, async () => (await me.file(id)).status !== 'processing');
    expect(await me.file(id)).toMatchObject({ status: 'ready', width: 1200, height: 800 });
    expect(server.output()).not.toContain('hush');
  });

  it('is refused where it leads inside, and tells nothing of what a source says', async () => {
    for (const url of [`http://127.0.0.1:${port}/photo.jpg`, 'http://169.254.169.254/latest/']) {
      expect(await order(url)).toMatchObject({ status: 422, body: { code: 'import-refused' } });
    }
    const inside = await order(`http://localhost:${port}/inside`);
    expect((await ended(inside.body.id)).failure).toMatchObject({ code: 'import-refused' });
    const missing = await order(`http://localhost:${port}/missing`);
    expect((await ended(missing.body.id)).failure).toEqual({
      code: 'import-failed',
      detail: 'The source answered with status 404.',
    });
  });

  it('ends with its project', async () => {
    const doomed = await me.project();
    const { body } = await me.call<ImportView>('POST', `/projects/${doomed}/import`, {
      url: `http://localhost:${port}/never`,
    });
    const path = `/projects/${doomed}/imports/${body.id}`;
    await until(
      'it runs',
      30,
      async () => (await me.call<ImportView>('GET', path)).body.status === 'running',
    );
    const connections = () =>
      new Promise<number>((resolve, reject) =>
        source.getConnections((error, count) => (error ? reject(error) : resolve(count))),
      );
    // A running import has yet to look up its source's name: its connection follows a moment later.
    await until('its connection stands', 30, async () => (await connections()) === 1);
    expect((await me.call('DELETE', `/projects/${doomed}`)).status).toBe(204);
    await until('its connection is let go', 30, async () => (await connections()) === 0);
    expect((await me.call('GET', path)).status).toBe(404);
  });
});
