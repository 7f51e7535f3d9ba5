import { describe, expect, it } from 'vitest';

import type { PlannedVariant } from '../wanted.js';
import { choose, selections, type ChoosableRow } from './choose.js';

const planned: PlannedVariant = {
  name: 'thumb',
  recipe: { width: 1, fit: 'inside', format: 'webp' },
  digest: 'now',
  lazy: false,
};
const ready: ChoosableRow = {
  name: 'thumb',
  status: 'ready',
  recipe_digest: 'now',
  refused_digest: null,
  lazy: false,
  pending_key: null,
};

/** Which orders choose a variant whose row is in this state. */
const cases: readonly [string, Partial<ChoosableRow> | undefined, string, readonly string[]][] = [
  ['no row', undefined, 'eager', ['all', 'missing']],
  ['no row', undefined, 'lazy', []],
  ['ready by this recipe', {}, 'eager', ['all']],
  ['ready by this recipe', { lazy: true }, 'lazy', ['all']],
  ['ready by another', { recipe_digest: 'old' }, 'eager', ['all', 'stale']],
  [
    'ready by another since this one failed',
    { recipe_digest: 'old', refused_digest: 'now' },
    'eager',
    ['all', 'failed'],
  ],
  ['failed', { status: 'failed' }, 'eager', ['all', 'failed']],
  [
    'failed by another recipe',
    { status: 'failed', recipe_digest: 'old' },
    'eager',
    ['all', 'failed', 'stale'],
  ],
  ['waiting', { status: 'pending' }, 'eager', ['all', 'missing']],
  [
    'waiting with another recipe',
    { status: 'pending', recipe_digest: 'old' },
    'eager',
    ['all', 'missing', 'stale'],
  ],
  ['waiting to be asked for', { status: 'pending', lazy: true }, 'lazy', []],
  [
    'waiting to be asked for by another recipe',
    { status: 'pending', lazy: true, recipe_digest: 'old' },
    'lazy',
    [],
  ],
  ['being made', { status: 'rendering', pending_key: 'k' }, 'eager', []],
];

describe('what is made anew of a variant', () => {
  it.each(cases)('with %s (%#)', (_what, state, kind, orders) => {
    const rows = state === undefined ? [] : [{ ...ready, ...state }];
    const variant = { ...planned, lazy: kind === 'lazy' };
    const chosenBy = selections.filter((which) => choose(which, undefined, [variant], rows).length > 0);
    expect([...chosenBy].sort()).toEqual([...orders].sort());
  });

  it('is forced only when everything is', () => {
    for (const which of selections) {
      for (const { force } of choose(which, undefined, [planned], [{ ...ready, status: 'failed' }])) {
        expect(force).toBe(which === 'all');
      }
    }
  });

  it('keeps to the names asked for, with all their formats', () => {
    const variants = ['thumb', 'wide.avif', 'wide.webp'].map((name) => ({ ...planned, name }));
    const names = (asked: readonly string[]) =>
      choose('all', asked, variants, []).map((one) => one.planned.name);
    expect(names(['wide'])).toEqual(['wide.avif', 'wide.webp']);
    expect(names(['wide.avif'])).toEqual([]);
  });
});
