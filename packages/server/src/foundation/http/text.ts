import Type from 'typebox';

/**
 * One line of text for people, such as a name: at least one visible character, no control characters (a NUL
 * cannot be stored), no half of a surrogate pair (it has no UTF-8).
 *
 * @param maxLength in Unicode code points.
 */
export function lineOfText(maxLength: number, description: string) {
  return Type.String({
    maxLength,
    pattern: '^(?=.*[^\\s])[^\\p{Cc}\\p{Cs}\\u2028\\u2029]*$',
    description,
  });
}
