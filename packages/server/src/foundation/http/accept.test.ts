import { expect, it } from 'vitest';

import { namedTypes } from './accept.js';

it.each<[string | undefined, readonly string[]]>([
  [undefined, []],
  ['', []],
  ['*/*', []],
  ['image/*,*/*;q=0.8', []],
  [
    'image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8',
    ['image/avif', 'image/webp', 'image/apng', 'image/svg+xml'],
  ],
  ['IMAGE/AVIF ; Q=0.5 , image/webp;q=1', ['image/avif', 'image/webp']],
  ['image/avif;q=0, image/webp;q=0.000, image/png;q=0.001', ['image/png']],
  ['image, /webp, image/, a/b/c, image/we bp', []],
  ['x'.repeat(10_000), []],
])('the types that %j names', (accept, types) => {
  expect([...namedTypes(accept)]).toEqual(types);
});
