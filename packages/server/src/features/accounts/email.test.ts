import { expect, it } from 'vitest';

import { readEmail } from './email.js';

it.each([
  ['ada@example.com', 'ada@example.com'],
  ['  Ada@Example.COM\n', 'ada@example.com'],
  ['ada+tag@example.com', 'ada+tag@example.com'],
  ['a.d.a@example.com', 'a.d.a@example.com'],
  ['ada@bücher.example', 'ada@xn--bcher-kva.example'],
  ['ada@BÜCHER.example', 'ada@xn--bcher-kva.example'],
  ['ada@bu\u0308cher.example', 'ada@xn--bcher-kva.example'],
  ['ada@XN--BCHER-KVA.example', 'ada@xn--bcher-kva.example'],
  ['rene\u0301@example.com', 'ren\u00e9@example.com'],
  ['REN\u00c9@example.com', 'ren\u00e9@example.com'],
  ['用户@例子.测试', '用户@xn--fsqu00a.xn--0zwm56d'],
  ['root@localhost', 'root@localhost'],
])('%j is %s', (text, canonical) => {
  expect(readEmail(text)?.canonical).toBe(canonical);
});

it('keeps what the owner wrote for showing', () => {
  expect(readEmail(' Ada@Bücher.example ')?.shown).toBe('Ada@Bücher.example');
});

it('has one canonical form: reading it again changes nothing', () => {
  for (const text of ['İstanbul@example.com', 'Σίσυφος@example.com', 'K@example.com', 'ﬁ@example.com']) {
    const canonical = readEmail(text)?.canonical ?? '';
    expect(canonical).not.toBe('');
    expect(readEmail(canonical)?.canonical).toBe(canonical);
  }
});

it.each([
  '',
  '@',
  'ada',
  'ada@',
  '@example.com',
  'ada@exa mple.com',
  'a da@example.com',
  'ada@example..com',
  'ada@.example.com',
  'ada@example.com.',
  'ada@-example.com',
  'ada@example.com/path',
  'ada@example.com:25',
  'ada@user@example.com',
  'ada@exa%6dple.com',
  'ada@[127.0.0.1]',
  'ada@xn--a',
  '"ada"@example.com',
  'ada,bob@example.com',
  'ada\u0000@example.com',
  'ada\r\nBcc: x@example.com',
  'ad\u200ba@example.com',
  'ad\u202ea@example.com',
  'ada\ud800@example.com',
  `${'a'.repeat(65)}@example.com`,
  `ada@${'a'.repeat(64)}.com`,
  `ada@${'abcdefghi.'.repeat(26)}com`,
])('%j is no address', (text) => {
  expect(readEmail(text)).toBeUndefined();
});
