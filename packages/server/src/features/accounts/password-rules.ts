/** Shortest password in characters (NIST SP 800-63B §3.1.1.2). */
export const minPasswordLength = 8;
/** Longest in bytes of UTF-8: hashing reads them all, so somebody must say where it ends. */
export const maxPasswordBytes = 1024;

/** The most used ones of eight characters and more, without their case. */
const common = new Set([
  'password',
  'password1',
  'password12',
  'password123',
  'passw0rd',
  'p@ssword',
  'p@ssw0rd',
  'iloveyou',
  'sunshine',
  'princess',
  'football',
  'baseball',
  'superman',
  'trustno1',
  'starwars',
  'whatever',
  'computer',
  'internet',
  'michelle',
  'jennifer',
  'qwerty123',
  'qwertyui',
  'qwertyuiop',
  'asdfghjkl',
  'zxcvbnm1',
  '1q2w3e4r',
  '1q2w3e4r5t',
  '1qaz2wsx',
  'q1w2e3r4',
  'abc12345',
  'abcd1234',
  'admin123',
  'administrator',
  'changeme',
  'letmein1',
  'welcome1',
  'welcome123',
  'mediablobkit',
]);

/**
 * The one form of a password that is hashed: the same keys give different code points on different systems.
 */
export function canonicalPassword(text: string): string {
  return text.normalize('NFC');
}

/**
 * Why the password must not be used, as a sentence; undefined when it may.
 *
 * @param email the account's canonical address, which is the first thing that is tried.
 */
export function passwordFault(text: string, email: string): string | undefined {
  const password = canonicalPassword(text);
  const characters = [...password];
  if (Buffer.byteLength(password) > maxPasswordBytes) return `must have at most ${maxPasswordBytes} bytes`;
  if (characters.length < minPasswordLength) return `must have at least ${minPasswordLength} characters`;
  const lower = password.toLowerCase();
  if (common.has(lower)) return 'is one of the most used passwords';
  if (new Set(characters).size < 4) return 'must have at least 4 different characters';
  if (isRun(lower)) return 'must not be a row of neighbouring characters';
  if (lower === email || lower === email.slice(0, email.lastIndexOf('@')))
    return 'must not be the e-mail address';
  return undefined;
}

/** True for `12345678`, `87654321`, `abcdefgh`: each character is the next one, with 9 followed by 0. */
function isRun(text: string): boolean {
  const steps = [...text].map((character, index, all) => {
    const before = all[index - 1];
    if (before === undefined) return undefined;
    if ((before === '9' && character === '0') || (before === '0' && character === '9')) return 'around';
    return (character.codePointAt(0) ?? 0) - (before.codePointAt(0) ?? 0);
  });
  const kinds = new Set(steps.slice(1).filter((step) => step !== 'around'));
  return kinds.size === 1 && (kinds.has(1) || kinds.has(-1));
}
