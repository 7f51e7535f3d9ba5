/** Longest name in characters (code points) and in bytes of UTF-8; what file systems and headers take. */
const maxCharacters = 255;
const maxBytes = 1024;
/** What a file is called when nothing is left of its name. */
const unnamed = 'unnamed';

// Control characters (line breaks and NUL, which PostgreSQL refuses), lone surrogates, noncharacters.
const unprintable = /[\p{Cc}\p{Cs}\p{Noncharacter_Code_Point}]/gu;
// Marks that turn the direction of text: with them `gpj.exe` is shown as `exe.jpg`. Also the invisible
// separators U+2028/2029 and the byte order mark. The joiners U+200C/D stay: emoji and Persian need them.
const misleading = /[\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/gu;

/**
 * Makes a name that is safe to show and to offer for a download from what a client sent: no folders, no control
 * characters, no marks that turn its direction, 1–255 characters. For people only: no key or path is made of it.
 */
export function cleanFilename(given: string): string {
  const last = given.split(/[/\\]/).at(-1) ?? '';
  const name = last.replace(unprintable, '').replace(misleading, '').normalize('NFC').trim();
  return name === '' || name === '.' || name === '..' ? unnamed : shorten(name);
}

/** Cuts in front of the extension, so that the end that people recognise a type by stays. */
function shorten(name: string): string {
  if (fits(name)) return name;
  const dot = name.lastIndexOf('.');
  const extension = dot > 0 && name.length - dot <= 16 ? name.slice(dot) : '';
  const characters = Array.from(name.slice(0, name.length - extension.length));
  let kept = characters.slice(0, maxCharacters - Array.from(extension).length);
  while (!fits(kept.join('') + extension)) kept = kept.slice(0, Math.floor(kept.length * 0.9));
  return kept.join('').trimEnd() + extension;
}

function fits(name: string): boolean {
  return Buffer.byteLength(name) <= maxBytes && Array.from(name).length <= maxCharacters;
}
