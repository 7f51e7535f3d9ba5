import Type from 'typebox';
import { expect, test } from 'vitest';

import { defineJob, handle } from './define.js';
import { assertHandlers } from './handlers.js';

const kind = (name: string) => defineJob({ name, payload: Type.Object({}) });
const [one, two] = [kind('one'), kind('two')];
const run = async () => undefined;

test('every kind with exactly one handler is fine', () => {
  expect(() => assertHandlers([one, two], [handle(two, run), handle(one, run)])).not.toThrow();
});

test('all faults are named in one sentence', () => {
  const handlers = [handle(two, run), handle(two, run), handle(kind('three'), run)];
  expect(() => assertHandlers([one, two, kind('one')], handlers)).toThrow(
    'The queue cannot start: the job kind "one" is declared 2 times; the job kind "one" has no handler; ' +
      'the job kind "two" has 2 handlers; a handler is for the job kind "three", which nobody declares.',
  );
});
