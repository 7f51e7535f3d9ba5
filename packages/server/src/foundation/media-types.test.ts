import { describe, expect, test } from 'vitest';

import { gifThatIsAPage, pageNamedPicture, svgPicture } from '../../test/fixtures/impostors.js';
import { animation, photo, type PictureFormat } from '../../test/fixtures/pictures.js';
import { detectType, isDecodable, isPicture } from './media-types.js';

const mimeOf = async (content: string | Buffer): Promise<string> =>
  (await detectType(Buffer.from(content))).mime;

describe('a type is detected from the first bytes', () => {
  const formats: readonly PictureFormat[] = ['jpeg', 'png', 'webp', 'gif', 'avif'];
  test.each(formats)('a %s picture is what it is, from 4 KiB of it', async (format) => {
    const bytes = await photo({ width: 320, height: 240, format });
    const type = await detectType(bytes.subarray(0, 4096));
    expect(type).toEqual({ mime: `image/${format}`, extension: format === 'jpeg' ? 'jpg' : format });
    expect(isDecodable(type.mime)).toBe(true);
  });

  test('an animation is a picture of its format', async () => {
    const webp = await animation({ width: 32, height: 32, frames: 3, format: 'webp' });
    expect(await mimeOf(webp)).toBe('image/webp');
  });

  test.each<[string, string | Buffer, string, string]>([
    ['nothing', '', 'application/octet-stream', 'bin'],
    ['noise', Buffer.from([0, 1, 2, 3, 250, 251, 252]), 'application/octet-stream', 'bin'],
    ['prose', 'Dear reader,\nall is well.\n', 'text/plain', 'txt'],
    ['prose that begins like a bitmap', 'BMW is a make of car.', 'text/plain', 'txt'],
    ['prose in UTF-8 with a byte order mark', '\uFEFFGrüße', 'text/plain', 'txt'],
    ['prose in UTF-16, little end first', Buffer.from('\uFEFFGrüße', 'utf16le'), 'text/plain', 'txt'],
    ['prose in UTF-16, big end first', Buffer.from('\uFEFFGrüße', 'utf16le').swap16(), 'text/plain', 'txt'],
    ['a PDF', '%PDF-1.7\n%âãÏÓ\n1 0 obj\n', 'application/pdf', 'pdf'],
    ['XML', '<?xml version="1.0"?>\n<feed><entry/></feed>', 'application/xml', 'xml'],
  ])('%s', async (_, content, mime, extension) => {
    expect(await detectType(Buffer.from(content))).toEqual({ mime, extension });
  });
});

describe('markup is never taken for something harmless', () => {
  test.each([
    ['a page', '<!DOCTYPE html><html><body>hi</body></html>'],
    ['a page after white space', '\n\t  <HTML><script>alert(1)</script>'],
    ['a page after a comment', '<!-- hello --><script>alert(1)</script>'],
    ['a page after a byte order mark', '\uFEFF<html>'],
    ['a page in UTF-16', Buffer.from('\uFEFF<script>alert(1)</script>', 'utf16le')],
    ['XHTML', '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"/>'],
    ['XHTML under a prefix', '<?xml version="1.0"?><h:html xmlns:h="http://www.w3.org/1999/xhtml"/>'],
    ['a comment without an end', `<!--${'x'.repeat(5000)}`],
  ])('%s is text/html', async (_, content) => {
    expect(await mimeOf(content)).toBe('text/html');
  });

  test('a page that is named like a picture is a page', async () => {
    expect(await mimeOf(pageNamedPicture())).toBe('text/html');
  });

  test('a picture that is a page too is a page', async () => {
    expect(await mimeOf(gifThatIsAPage())).toBe('text/html');
    const jpeg = await photo({ width: 16, height: 16 });
    const comment = Buffer.from('\xff\xfe\x00\x2a<script>fetch("/auth/me")</script>....', 'latin1');
    expect(await mimeOf(Buffer.concat([jpeg.subarray(0, 2), comment, jpeg.subarray(2)]))).toBe('text/html');
  });

  test.each([
    ['plain', '<svg xmlns="http://www.w3.org/2000/svg"/>'],
    ['after a declaration', '<?xml version="1.0" encoding="UTF-8"?>\n<!-- made by hand -->\n<svg/>'],
    ['after a document type with entities', '<!DOCTYPE svg [<!ENTITY a "b">]><svg/>'],
    ['under a prefix', '<s:svg xmlns:s="http://www.w3.org/2000/svg"/>'],
  ])('SVG %s is SVG', async (_, content) => {
    expect(await mimeOf(content)).toBe('image/svg+xml');
  });

  test('SVG is a picture that is not decoded', async () => {
    const { mime } = await detectType(svgPicture());
    expect([isPicture(mime), isDecodable(mime)]).toEqual([true, false]);
    expect(isPicture('application/pdf')).toBe(false);
  });
});

test('every answer has an extension that fits a blob key, whatever the bytes', async () => {
  const heads = [
    '\x1f\x8b\x08',
    'PK\x03\x04',
    'OggS\0\x02',
    '\0\0\0\x18ftypheic',
    'RIFF\x10\0\0\0WAVEfmt ',
    '7z\xbc\xaf\x27\x1c',
  ];
  for (const head of heads) {
    const type = await detectType(Buffer.concat([Buffer.from(head, 'latin1'), Buffer.alloc(600)]));
    expect(type.extension).toMatch(/^[a-z0-9]{1,10}$/);
    expect(type.mime).toMatch(/^[a-z]+\/[a-z0-9.+-]+$/);
  }
});
