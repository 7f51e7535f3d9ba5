import type { ZxcvbnFactory } from '@zxcvbn-ts/core';

/** Guesses below which a password falls to patience alone, as a power of ten: zxcvbn's score 2 begins at 10^6. */
const lowestScore = 2;
/** Characters that are looked at: the effort grows with their square, and what is longer is not weak. */
const maxLength = 64;

let loading: Promise<ZxcvbnFactory> | undefined;

/** Some 2 MB of words, read by the first password that somebody chooses. */
function estimator(): Promise<ZxcvbnFactory> {
  return (loading ??= load());
}

async function load(): Promise<ZxcvbnFactory> {
  const [{ ZxcvbnFactory: Factory }, common, english] = await Promise.all([
    import('@zxcvbn-ts/core'),
    import('@zxcvbn-ts/language-common'),
    import('@zxcvbn-ts/language-en'),
  ]);
  return new Factory({
    dictionary: { ...common.dictionary, ...english.dictionary },
    graphs: common.adjacencyGraphs,
    translations: english.translations,
    maxLength,
  });
}

/**
 * Why a password is easily guessed, as the end of “The password …”; undefined when it is not.
 * @param words that whoever guesses tries first: the person's name and address.
 */
export async function easeOfGuessing(
  password: string,
  words: readonly string[],
): Promise<string | undefined> {
  const { score, feedback } = (await estimator()).check(password.slice(0, maxLength), [
    'mediablobkit',
    ...words.filter((word) => word.length > 2),
  ]);
  if (score >= lowestScore) return undefined;
  const hint = [feedback.warning ?? '', ...feedback.suggestions].find((text) => text !== '');
  return `is easily guessed${hint === undefined ? '' : `: ${hint.replace(/\.$/, '')}`}`;
}
