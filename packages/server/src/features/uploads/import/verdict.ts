import { OutboundFailed, OutboundRefused } from '../../../foundation/http/outbound/failures.js';
import { Problem, problems } from '../../../foundation/problems.js';
import { problemOf } from '../upload-problems.js';
import type { ImportFailure } from './queries.js';

/** What the failure of an attempt means for the import. */
export interface Verdict extends ImportFailure {
  /** Whether another attempt may go better. */
  readonly passing: boolean;
  /** Whether it is somebody else's, and no fault that people should look at. */
  readonly expected: boolean;
}

export function verdictOf(error: unknown): Verdict {
  if (error instanceof OutboundRefused) {
    return { code: 'import-refused', detail: error.message, passing: false, expected: true };
  }
  if (error instanceof OutboundFailed) {
    return { code: 'import-failed', detail: error.message, passing: error.passing, expected: true };
  }
  const problem = problemOf(error);
  if (problem instanceof Problem) {
    const ours = problem.status >= 500;
    return { code: problem.code, detail: problem.message, passing: ours, expected: !ours };
  }
  const { title: detail } = problems['internal-error'];
  return { code: 'internal-error', detail, passing: true, expected: false };
}
