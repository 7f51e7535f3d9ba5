import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';

import { openFuzz, type Fuzz } from './fuzz.js';
import { requestsOf } from './requests.js';

/** Set by `npm run test:fuzz`; a short run with another seed every time without. */
const minutes = Number(process.env['FUZZ_MINUTES'] ?? 0.1);
const { FUZZ_SEED: seed = String(Date.now() % 2 ** 31), FUZZ_PATH: path } = process.env;
const milliseconds = minutes * 60_000;

let fuzz: Fuzz;

beforeAll(async () => {
  fuzz = await openFuzz();
}, 60_000);

afterAll(() => fuzz.close());

it(
  'whatever is sent, no answer is a 5xx, and every answer is documented',
  async () => {
    const requests = requestsOf(fuzz.operations, fuzz.callers);
    const details = await fc.check(
      fc.asyncProperty(requests, (request) => fuzz.run(request)),
      {
        seed: Number(seed),
        numRuns: path === undefined ? 10_000_000 : 1,
        interruptAfterTimeLimit: milliseconds,
        ...(path === undefined ? {} : { path }),
      },
    );
    const histogram = [...fuzz.statuses]
      .sort(([a], [b]) => a - b)
      .map(([status, count]) => `${status}: ${count}`);
    console.log(`seed ${seed}, ${details.numRuns} requests, ${histogram.join(', ')}`);
    const replay = `npm run test:fuzz -- --seed ${seed} --path ${details.counterexamplePath ?? ''}`;
    const { errorInstance: why } = details;
    const fault = why instanceof Error ? why.message : why;
    expect(details.failed ? `${String(fault)}\n${fc.defaultReportMessage(details)}` : 'held', replay).toBe(
      'held',
    );
  },
  milliseconds + 60_000,
);
