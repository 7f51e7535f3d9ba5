import { describe, expect, it } from 'vitest';

import { cleanFilename } from './names.js';

describe('a file name', () => {
  it.each([
    ['cat.jpg', 'cat.jpg'],
    ['  cat.jpg ', 'cat.jpg'],
    ['/etc/passwd', 'passwd'],
    ['..\\..\\boot.ini', 'boot.ini'],
    ['a/b/', 'unnamed'],
    ['', 'unnamed'],
    ['.', 'unnamed'],
    ['...', '...'],
    ['\0\u0007\u007f\u0085', 'unnamed'],
    ['a\r\nContent-Type: text/html', 'html'],
    ['a\r\nb.txt', 'ab.txt'],
    ['\u202egpj.exe', 'gpj.exe'],
    ['\u2066a\u2069\u200fb\ufeff.txt', 'ab.txt'],
    ['half\ud800.txt', 'half.txt'],
    ['e\u0301.txt', 'é.txt'],
    ['👩‍👩‍👧.png', '👩‍👩‍👧.png'],
    ['say "cheese".txt', 'say "cheese".txt'],
  ])('%j becomes %j', (given, cleaned) => {
    expect(cleanFilename(given)).toBe(cleaned);
  });

  it('keeps its extension when it is cut', () => {
    expect(cleanFilename(`${'a'.repeat(10_000)}.jpeg`)).toBe(`${'a'.repeat(250)}.jpeg`);
    expect(cleanFilename(`a.${'b'.repeat(10_000)}`)).toHaveLength(255);
  });

  it.each(['x', 'ä', '☃', '👩‍👩‍👧', '\0', '/', '\ud800'])(
    'made of 10,000 %j is within its limits',
    (character) => {
      const cleaned = cleanFilename(character.repeat(10_000));
      expect(Array.from(cleaned).length).toBeLessThanOrEqual(255);
      expect(Buffer.byteLength(cleaned)).toBeLessThanOrEqual(1024);
      expect(cleaned).not.toBe('');
      expect(cleaned).not.toMatch(/[\p{Cc}\p{Cs}/\\]/u);
    },
  );
});
