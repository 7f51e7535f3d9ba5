/**
 * Words that stand in examples and in secrets typed by hand. Six letters at least: chance puts one of
 * six letters into one of some 30 million random base64 texts, one of four into one of 30,000.
 */
const words = [
  'secret',
  'passwor',
  'passwd',
  'passphrase',
  'changeme',
  'change-me',
  'change_me',
  'changethis',
  'change-this',
  'replace',
  'example',
  'default',
  'insecure',
  'mediablobkit',
  'supersecure',
  'qwerty',
  'abcdefg',
  'letmein',
  'iloveyou',
  'welcome',
  'openssl',
];

const wantedBits = 256;

/**
 * Why a signing secret is too weak, as a clause ("it is …"), or undefined when it may hold 32 random bytes.
 * Nothing can prove randomness; this refuses what cannot be: too short for its alphabet, repeated, counted
 * up, or made of words.
 */
export function weakness(secret: string): string | undefined {
  const text = secret.replace(/=+$/, '');
  if (/[\s\p{Cc}]/u.test(text)) return 'it holds blanks or control characters';
  if (text.length < 32) return 'it is shorter than 32 characters';
  if (text.length > 4096) return 'it is longer than 4096 characters';
  const lower = text.toLowerCase();
  if (words.some((word) => lower.includes(word))) return 'it holds a common word';
  // 64 random hexadecimal digits, the poorest alphabet usual, hold nine or fewer different ones about once
  // in 10^12.
  if (new Set(text).size < 10) return 'it holds too few different characters';
  if (isRepeated(text) || /(.)\1{7}/u.test(text)) return 'it repeats itself';
  if (isCounted(text)) return 'it counts up or down';
  if (text.length * bitsPerCharacter(text) < wantedBits) return 'it is too short for the characters it uses';
  return undefined;
}

/** The most that one character can hold, judged by the alphabet the text keeps to. */
function bitsPerCharacter(text: string): number {
  if (/^\d+$/.test(text)) return Math.log2(10);
  if (/^[\da-f]+$/i.test(text)) return 4;
  if (/^[\da-z]+$/.test(text) || /^[\dA-Z]+$/.test(text)) return Math.log2(36);
  if (/^[\w+/-]+$/.test(text)) return 6;
  return Math.log2(94);
}

/** True when the text is one piece written two or more times, the last time perhaps cut. */
function isRepeated(text: string): boolean {
  for (let period = 1; period <= text.length / 2; period += 1)
    if (text.slice(period) === text.slice(0, text.length - period)) return true;
  return false;
}

/** True when more than half of the steps from one character to the next are +1, or −1. */
function isCounted(text: string): boolean {
  let up = 0;
  let down = 0;
  for (let index = 1; index < text.length; index += 1) {
    const step = text.charCodeAt(index) - text.charCodeAt(index - 1);
    if (step === 1) up += 1;
    if (step === -1) down += 1;
  }
  return Math.max(up, down) > text.length / 2;
}
