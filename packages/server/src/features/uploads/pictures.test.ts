import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { pngBomb, webpBomb } from '../../../test/fixtures/bombs.js';
import { decoderEntry } from '../../../test/fixtures/imaging.js';
import { cut, gifThatIsAPage, svgPicture } from '../../../test/fixtures/impostors.js';
import { orientedPicture, photo } from '../../../test/fixtures/pictures.js';
import { createUploadKit, multipartBody, nothing, type UploadKit } from '../../../test/upload-kit.js';
import type { Imaging } from '../../foundation/imaging/imaging.js';
import { createImaging } from '../../foundation/imaging/pool.js';
import { createLog } from '../../foundation/log.js';

let kit: UploadKit;
let imaging: Imaging;
beforeAll(async () => {
  imaging = createImaging({
    log: await createLog({ level: 'silent', pretty: false }),
    size: 1,
    memoryLimitBytes: 1024 ** 3,
    wallClockMs: 20_000,
    childEntry: await decoderEntry(),
  });
  kit = await createUploadKit({ imaging });
});
afterAll(async () => {
  await kit.close();
  await imaging.close();
});

async function upload(projectId: string, filename: string, content: Buffer) {
  const answer = await kit.send(projectId, multipartBody([{ filename, content }]));
  return { status: answer.status, body: (await answer.json()) as Record<string, unknown> };
}

/** A JPEG whose dimensions stand behind `bytes` of comments. */
function behindComments(jpeg: Buffer, bytes: number): Buffer {
  const comment = Buffer.alloc(65_000);
  comment.writeUInt16BE(0xfffe, 0);
  comment.writeUInt16BE(comment.length - 2, 2);
  const comments = Array.from({ length: Math.ceil(bytes / comment.length) }, () => comment);
  return Buffer.concat([jpeg.subarray(0, 2), ...comments, jpeg.subarray(2)]);
}

describe('a picture', () => {
  it('is answered with its dimensions and has its variants planned in the same transaction', async () => {
    const project = await kit.project();
    const { status, body } = await upload(project, 'a.jpg', await photo({ width: 320, height: 200 }));
    expect(status).toBe(201);
    expect(body).toMatchObject({ mimeType: 'image/jpeg', status: 'processing', width: 320, height: 200 });
    const variants = await kit.db
      .selectFrom('variants')
      .select(['name', 'status'])
      .where('file_id', '=', String(body['id']))
      .orderBy('name')
      .execute();
    expect(variants).toEqual([
      { name: 'large', status: 'pending' },
      { name: 'medium', status: 'pending' },
      { name: 'thumbnail', status: 'pending' },
    ]);
    const jobs = await kit.db
      .selectFrom('waiting_jobs')
      .select('kind')
      .where('project_id', '=', project)
      .execute();
    expect(jobs).toEqual([{ kind: 'render-variants' }]);
  });

  it('has the dimensions that it is seen with', async () => {
    const project = await kit.project();
    // Stored 80 × 120 and turned by its EXIF orientation.
    const { body } = await upload(project, 'a.jpg', await orientedPicture(6));
    expect(body).toMatchObject({ width: 120, height: 80 });
  });

  it('tells its dimensions behind a megabyte of comments, or is stored without them', async () => {
    const project = await kit.project();
    const jpeg = await photo({ width: 320, height: 200 });
    const near = await upload(project, 'near.jpg', behindComments(jpeg, 500_000));
    expect(near.body).toMatchObject({ width: 320, height: 200 });
    const far = await upload(project, 'far.jpg', behindComments(jpeg, 1_500_000));
    expect(far).toMatchObject({ status: 201, body: { width: null, status: 'processing' } });
  });

  it.each([
    ['PNG', 'a.png', () => pngBomb()],
    ['WebP', 'a.webp', () => webpBomb()],
  ])('with too many pixels is refused: %s', async (_name, filename, bomb) => {
    const project = await kit.project();
    const { status, body } = await upload(project, filename, bomb());
    expect(status).toBe(422);
    expect(body).toMatchObject({
      code: 'too-many-pixels',
      limit: 50_000_000,
      errors: [{ pointer: '#/parts/0' }],
    });
    expect(Number(body['actual'])).toBeGreaterThan(50_000_000);
    expect(await kit.leftovers(project)).toEqual(nothing);
  });

  it('that is broken is stored: its processing will say why it fails', async () => {
    const project = await kit.project();
    const whole = await photo({ width: 320, height: 200, format: 'png' });
    const { status, body } = await upload(project, 'a.png', cut(whole, 0.01));
    expect(status).toBe(201);
    expect(body).toMatchObject({ mimeType: 'image/png', status: 'processing' });
  });

  it('that cannot be decoded here is ready at once', async () => {
    const project = await kit.project();
    const { status, body } = await upload(project, 'a.svg', svgPicture());
    expect(status).toBe(201);
    expect(body).toMatchObject({ mimeType: 'image/svg+xml', status: 'ready', width: null });
  });

  it('that is also a page is taken for a page', async () => {
    const project = await kit.project({ allowedTypes: ['image/*'] });
    expect((await upload(project, 'a.gif', gifThatIsAPage())).status).toBe(415);
  });
});
