import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { dispositionHeader, mayShowInline } from './content-headers.js';

describe('the name in Content-Disposition', () => {
  it.each([
    ['photo.jpg', 'inline; filename="photo.jpg"'],
    ['two words.png', 'inline; filename="two words.png"'],
    ['a"b.jpg', 'inline; filename="a\\"b.jpg"'],
    ['../../etc/passwd', 'inline; filename="_.._etc_passwd"'],
    ['a\r\nSet-Cookie: x=1', 'inline; filename="aSet-Cookie: x=1"'],
    ['a\u0000b.gif', 'inline; filename="ab.gif"'],
    ['photo\u202Egpj.exe', 'inline; filename="photogpj.exe"'],
    ['100%41.jpg', 'inline; filename="100%41.jpg"; filename*=UTF-8\'\'100%2541.jpg'],
    ['Zürich.jpg', 'inline; filename="Zurich.jpg"; filename*=UTF-8\'\'Z%C3%BCrich.jpg'],
    ['写真.jpg', 'inline; filename="file.jpg"; filename*=UTF-8\'\'%E5%86%99%E7%9C%9F.jpg'],
    ['lone\ud800.jpg', 'inline; filename="lone.jpg"'],
    ['', 'inline; filename="file"'],
    ['\r\n', 'inline; filename="file"'],
  ])('%j', (name, expected) => {
    expect(dispositionHeader('inline', name)).toBe(expected);
  });

  it('is cut before its extension', () => {
    expect(dispositionHeader('attachment', `${'x'.repeat(10_000)}.jpeg`)).toBe(
      `attachment; filename="${'x'.repeat(75)}.jpeg"`,
    );
  });

  it('never breaks the header, whatever it is', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (name) => {
        const header = dispositionHeader('attachment', name);
        expect(header).toMatch(
          /^attachment; filename=("(?:[ !#-[\]-~]|\\["\\])+"|[\w.-]+)(; filename\*=UTF-8''[\w.%!#$&+^`|~-]+)?$/,
        );
      }),
      { seed: 8420, numRuns: 150 },
    );
  });
});

describe('showing in place', () => {
  it.each(['image/jpeg', 'image/webp', 'video/mp4', 'audio/mpeg'])('is allowed for %s', (type) => {
    expect(mayShowInline(type)).toBe(true);
  });
  it.each([
    'text/html',
    'image/svg+xml',
    'application/xml',
    'text/xml',
    'application/xhtml+xml',
    'text/javascript',
    'application/pdf',
    'application/octet-stream',
    'text/plain',
    '',
  ])('is not for %j', (type) => {
    expect(mayShowInline(type)).toBe(false);
  });
});
