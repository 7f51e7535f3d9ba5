import { expect, test } from 'vitest';

import { PermanentFailure } from './define.js';
import { describeError } from './failure.js';

test('an error becomes one line with its code, or its name when that says something', () => {
  expect(describeError(new Error('no'))).toBe('no');
  expect(describeError(Object.assign(new Error('gone'), { code: 'ENOENT' }))).toBe('ENOENT: gone');
  expect(describeError(new RangeError('too much'))).toBe('RangeError: too much');
  expect(describeError(new PermanentFailure('broken picture'))).toBe('broken picture');
  expect(describeError(new Error('outer', { cause: new Error('inner') }))).toBe('outer (inner)');
  expect(describeError('text')).toBe('text');
  expect(describeError(undefined)).toBe('something that is no error was thrown');
  expect(describeError(new Error('a\u0000b\r\n\tc'))).toBe('a b c');
  expect(describeError(new Error(''))).toBe('an error without a message');
});

test('secrets are blotted out', () => {
  const text = describeError(
    new Error(
      'GET https://key:hunter2@s3/x?X-Amz-Signature=hunter2&X-Amz-Credential=hunter2&part=1 ' +
        'Authorization: Bearer hunter2hunter2 password=hunter2 /v/1?sig=hunter2',
    ),
  );
  expect(text).not.toContain('hunter2');
  expect(text).toContain('part=1');
});

test('a long message is cut, never inside a character', () => {
  const text = describeError(new Error('😀'.repeat(2_000)));
  expect(text.length).toBeLessThanOrEqual(1_000);
  expect(text.endsWith('😀…')).toBe(true);
});
