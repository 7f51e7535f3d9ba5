/** Longest text of an error that is kept in a row, in characters. */
const longest = 1_000;

/**
 * An error as the one sentence that a dead letter shows: code, name unless it says nothing, message, and the
 * message of its cause. Bounded, free of control characters, with credentials in URLs, signed query strings and
 * authorization values blotted out.
 */
export function describeError(error: unknown): string {
  const text = sentence(error, 2);
  const clean = withoutSecrets(text)
    // PostgreSQL refuses NUL in text, and a list of jobs wants one line each.
    .replace(/\p{Cc}+/gu, ' ')
    .trim();
  if (clean === '') return 'an error without a message';
  return clean.length <= longest ? clean : `${[...clean.slice(0, longest - 1)].filter(isWhole).join('')}…`;
}

function sentence(error: unknown, depth: number): string {
  if (!(error instanceof Error))
    return typeof error === 'string' ? error : 'something that is no error was thrown';
  const code = 'code' in error && typeof error.code === 'string' ? `${error.code}: ` : '';
  const name = code === '' && !plainNames.has(error.name) ? `${error.name}: ` : '';
  const own = `${code}${name}${error.message}`;
  return depth > 1 && error.cause !== undefined ? `${own} (${sentence(error.cause, depth - 1)})` : own;
}

/** Names that add nothing to the message. */
const plainNames = new Set(['Error', 'PermanentFailure', 'Problem']);

function withoutSecrets(text: string): string {
  return text
    .replace(/(\b[a-z][a-z0-9+.-]*:\/\/)[^\s/@]*@/gi, '$1***@')
    .replace(
      /\b((?:x-amz-)?(?:signature|credential|security-token)|sig|token|password|secret|api[-_]?key)=[^\s&"']+/gi,
      '$1=***',
    )
    .replace(/\b(bearer|basic)\s+[\w.~+/=-]{8,}/gi, '$1 ***');
}

/** False for the half of a surrogate pair that a cut has left. */
function isWhole(character: string): boolean {
  return !/^\p{Cs}$/u.test(character);
}
