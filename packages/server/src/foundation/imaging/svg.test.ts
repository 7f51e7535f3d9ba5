import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

import { pino } from 'pino';
import sharp from 'sharp';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';

import { decoderEntry } from '../../../test/fixtures/imaging.js';
import { svgBomb, svgPicture } from '../../../test/fixtures/impostors.js';
import { photo } from '../../../test/fixtures/pictures.js';
import type { Imaging } from './imaging.js';
import { createImaging, type ImagingOptions } from './pool.js';
import type { Recipe } from './recipe.js';

let childEntry: URL;
let imaging: Imaging;
let folder: string;

beforeAll(async () => {
  childEntry = await decoderEntry();
  imaging = open({});
});
afterAll(() => imaging.close());
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'svg-test-'));
});
afterEach(() => rm(folder, { recursive: true }));

function open(options: Partial<ImagingOptions>): Imaging {
  return createImaging({
    log: pino({ level: 'silent' }),
    size: 1,
    memoryLimitBytes: 512 * 2 ** 20,
    wallClockMs: 10_000,
    rasterizesSvg: true,
    childEntry,
    ...options,
  });
}

const svg = (attributes: string, content: string): Buffer =>
  Buffer.from(`<svg xmlns="http://www.w3.org/2000/svg" ${attributes}>${content}</svg>`);

/** Left half red, right half nothing, with an edge that only vectors keep sharp. */
const halves = (attributes: string): Buffer => svg(attributes, '<rect width="20" height="40" fill="red"/>');

let rendered = 0;
async function render(bytes: Buffer, recipe: Partial<Recipe>, engine = imaging) {
  const outputFolder = await mkdtemp(join(folder, 'out-'));
  const path = join(folder, `${rendered++}.svg`);
  await writeFile(path, bytes);
  const whole: Recipe = { fit: 'inside', format: 'png', ...recipe };
  const { facts, images } = await engine.render({
    path,
    recipes: [{ name: 'one', recipe: whole }],
    outputFolder,
  });
  const { data, info } = await sharp(await readFile(images[0]!.path))
    .ensureAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true });
  const pixel = (x: number, y: number): number[] => [
    ...data.subarray((y * info.width + x) * 4, (y * info.width + x) * 4 + 4),
  ];
  return { facts, width: info.width, height: info.height, pixel };
}

const red = [255, 0, 0, 255];

describe('a drawing', () => {
  test.each([
    ['pixels', 'width="40" height="40"'],
    ['inches', `width="1in" height="1in" viewBox="0 0 40 40"`],
    ['a view box', 'viewBox="0 0 40 40"'],
  ])(
    'with its size in %s is drawn at the size that is needed, never enlarged from pixels',
    async (_, size) => {
      const { width, height, pixel } = await render(halves(size), { width: 800, height: 800 });
      expect([width, height]).toEqual([800, 800]);
      expect(pixel(398, 400)).toEqual(red);
      expect(pixel(401, 400)[3]).toBe(0);
    },
  );

  test('is drawn small, and has the size that it gives itself', async () => {
    const { facts, width, pixel } = await render(halves('width="40" height="40"'), { width: 10 });
    expect(facts).toMatchObject({ format: 'svg', width: 40, height: 40, frames: 1, hasAlpha: true });
    expect(width).toBe(10);
    expect(pixel(2, 5)[3]).toBeGreaterThan(250);
    expect(pixel(7, 5)[3]).toBeLessThan(5);
  });

  test('is cut in its own pixels', async () => {
    const crop = { left: 10, top: 0, width: 20, height: 20 };
    const { width, pixel } = await render(halves('width="40" height="40"'), { crop, width: 400 });
    expect(width).toBe(400);
    expect(pixel(198, 100)).toEqual(red);
    expect(pixel(201, 100)[3]).toBe(0);
  });

  test('is trimmed of what it leaves empty', async () => {
    const { width, height } = await render(halves('width="40" height="40"'), { trim: 10, width: 200 });
    expect([width, height]).toEqual([200, 400]);
  });

  test('shows pictures that it brings along', async () => {
    const inside = (await photo({ width: 40, height: 40, format: 'png' })).toString('base64');
    const image = `<image href="data:image/png;base64,${inside}" width="40" height="40"/>`;
    const { pixel } = await render(svg('width="40" height="40"', image), { width: 40 });
    expect(pixel(20, 20)[3]).toBe(255);
  });

  test('runs no script', async () => {
    const { pixel } = await render(svgPicture(), { width: 80 });
    expect(pixel(40, 40)).toEqual([0, 128, 128, 255]);
  });
});

describe('the limit of pixels', () => {
  test('holds for the size that a drawing gives itself', async () => {
    await expect(render(halves('width="100000" height="100000"'), { width: 10 })).rejects.toMatchObject({
      code: 'too-many-pixels',
      limit: 50_000_000,
      actual: 1e10,
    });
  });

  test('and for what is drawn of it', async () => {
    const small = open({ maxPixels: 10_000 });
    try {
      const { width, height } = await render(halves('width="40" height="40"'), { width: 800 }, small);
      expect([width, height]).toEqual([80, 80]);
    } finally {
      await small.close();
    }
  });
});

describe('a hostile drawing', () => {
  test('that keeps the rasteriser busy is killed, and its neighbour is rendered', async () => {
    const impatient = open({ wallClockMs: 2000, size: 2 });
    try {
      const bomb = render(svgBomb(), { width: 400 }, impatient).catch((error: unknown) => error);
      const neighbour = render(await photo({ width: 60, height: 40 }), { width: 30 }, impatient);
      expect(await bomb).toMatchObject({
        code: 'decoder-timeout',
        message: 'The picture took longer than 2 s and was stopped.',
      });
      expect(await neighbour).toMatchObject({ width: 30, height: 20 });
    } finally {
      await impatient.close();
    }
  });

  test('reads no file', async () => {
    const picture = join(folder, 'secret.png');
    await writeFile(picture, await photo({ width: 40, height: 40, format: 'png' }));
    await writeFile(join(folder, 'secret.svg'), halves('width="40" height="40"'));
    await writeFile(join(folder, 'secret.txt'), 'the secret');
    const address = pathToFileURL(folder).href;
    const names = [`${address}/secret.png`, picture, 'secret.png', `${address}/secret.svg#a`, 'secret.svg'];
    for (const name of names) {
      const whole = 'width="40" height="40"';
      const drawing = svg(
        `${whole} xmlns:xlink="http://www.w3.org/1999/xlink"`,
        `<image href="${name}" ${whole}/><image xlink:href="${name}" ${whole}/><use href="${name}"/>` +
          `<rect ${whole} fill="none" style="fill:url('${name}')"/><style>@import url('${name}');</style>`,
      );
      const { pixel } = await render(drawing, { width: 40 });
      expect(pixel(20, 20)[3], name).toBe(0);
    }
    for (const parse of ['text', 'xml']) {
      const href = parse === 'text' ? 'secret.txt' : 'secret.svg';
      const drawing = svg(
        'width="40" height="40" xmlns:xi="http://www.w3.org/2001/XInclude"',
        ['', `${address}/`, `${folder}/`]
          .map((where) => `<text y="30"><xi:include href="${where}${href}" parse="${parse}"/></text>`)
          .join(''),
      );
      await isEmptyOrRefused(drawing);
    }
    await isEmptyOrRefused(
      Buffer.from(
        `<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY secret SYSTEM "${address}/secret.txt">]>` +
          '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40"><text y="30">&secret;</text></svg>',
      ),
    );
  });

  async function isEmptyOrRefused(drawing: Buffer): Promise<void> {
    try {
      const { pixel } = await render(drawing, { width: 40 });
      for (let x = 0; x < 40; x++) for (let y = 0; y < 40; y++) expect(pixel(x, y)[3]).toBe(0);
    } catch (error) {
      expect(error).toMatchObject({ code: 'corrupt-image' });
    }
  }

  test('with entities that grow without end is refused', async () => {
    const entities = Array.from(
      { length: 9 },
      (_, level) => `<!ENTITY e${level + 1} "${level === 0 ? "<circle r='9'/>" : `&e${level};`.repeat(10)}">`,
    ).join('');
    const drawing = `<!DOCTYPE svg [${entities}]><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9">&e9;</svg>`;
    await expect(render(Buffer.from(drawing), { width: 9 })).rejects.toMatchObject({ code: 'corrupt-image' });
  });

  test.each([
    ['broken', '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect'],
    ['of no size', '<svg xmlns="http://www.w3.org/2000/svg" width="0" height="0"/>'],
  ])('that is %s is called damaged', async (_, text) => {
    await expect(render(Buffer.from(text), { width: 9 })).rejects.toMatchObject({
      code: 'corrupt-image',
      message: 'The header of this svg picture is damaged.',
    });
  });
});
