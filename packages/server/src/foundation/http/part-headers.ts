import { isUtf8 } from 'node:buffer';

import { Problem } from '../problems.js';

// Nothing lazy and no trailing spaces in the pattern: either would be quadratic in a hostile line.
const fieldLine = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):(.*)$/s;

/**
 * Reads the header of a multipart part: field names in lower case. Text is UTF-8 (RFC 7578 §5.1), or Latin-1 when
 * it cannot be that.
 * @throws Problem `malformed-body` for lines that are no fields, folded lines, bare line breaks and repeated fields:
 * each has been read differently by two programs before.
 */
export function parsePartHeaders(block: Buffer): Map<string, string> {
  const fields = new Map<string, string>();
  const text = block.toString(isUtf8(block) ? 'utf8' : 'latin1');
  if (text === '') return fields;
  for (const line of text.split('\r\n')) {
    const match = /[\r\n]/.test(line) ? null : fieldLine.exec(line);
    const name = match?.[1]?.toLowerCase();
    if (name === undefined) throw malformed('The header of a part holds a line that is no field.');
    if (fields.has(name)) throw malformed(`The header of a part repeats ${name}.`);
    fields.set(name, (match?.[2] ?? '').trim());
  }
  return fields;
}

/** What a part's `Content-Disposition` says. */
export interface Disposition {
  readonly name: string;
  readonly filename: string | undefined;
}

// One parameter with its semicolon; sticky, so that the whole value is read without going back.
const parameter =
  /[ \t]*;[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))[ \t]*/sy;

/**
 * Reads `form-data; name="…"; filename="…"`.
 * @throws Problem `malformed-body` for anything else, and for parameters that are given twice.
 */
export function parseDisposition(value: string | undefined): Disposition {
  if (value === undefined) throw malformed('A part has no Content-Disposition.');
  const type = /^[^\s;]*/.exec(value)?.[0] ?? '';
  if (type.toLowerCase() !== 'form-data')
    throw malformed('The Content-Disposition of a part is not form-data.');
  const parameters = readParameters(value, type.length);
  if (typeof parameters === 'string') throw malformed(`The Content-Disposition of a part ${parameters}.`);
  return {
    name: formValue(parameters.get('name')) ?? '',
    filename: extendedValue(parameters.get('filename*')) ?? formValue(parameters.get('filename')),
  };
}

/**
 * The file name that the `Content-Disposition` of a whole message gives (RFC 6266), whatever its type; undefined
 * when it gives none. Text that is not ASCII is UTF-8, as curl sends it, or Latin-1 when it cannot be that.
 * @throws Problem `invalid-request` for what cannot be read.
 */
export function filenameOf(header: string | undefined): string | undefined {
  if (header === undefined) return undefined;
  // Node gives every byte of a header as one character.
  const bytes = Buffer.from(header, 'latin1');
  const value = isUtf8(bytes) ? bytes.toString('utf8') : header;
  const type = /^[!#$%&'*+.^_`|~0-9A-Za-z-]*/.exec(value)?.[0] ?? '';
  const parameters = type === '' ? 'has no type' : readParameters(value, type.length);
  if (typeof parameters === 'string') {
    throw new Problem('invalid-request', {
      detail: `The Content-Disposition ${parameters}.`,
      errors: [{ pointer: '#/headers/content-disposition', detail: parameters }],
    });
  }
  return extendedValue(parameters.get('filename*')) ?? parameters.get('filename');
}

/** Reads `; name=value` from a position to the end; a sentence's end that says what is wrong when that cannot be. */
function readParameters(value: string, start: number): Map<string, string> | string {
  const parameters = new Map<string, string>();
  // A trailing semicolon is common and harmless; spaces at the end are gone already.
  const end = value.endsWith(';') ? value.length - 1 : value.length;
  for (let at = start; at < end; at = parameter.lastIndex) {
    parameter.lastIndex = at;
    const match = parameter.exec(value);
    const name = match?.[1]?.toLowerCase();
    if (!match || name === undefined) return 'cannot be read';
    if (parameters.has(name)) return `gives ${name} twice`;
    // Only `\"` and `\\` are escapes: old browsers send `C:\folder\file.jpg` as it is.
    parameters.set(name, match[2]?.replace(/\\(["\\])/g, '$1') ?? match[3] ?? '');
  }
  return parameters;
}

/**
 * Today's browsers and curl write a quote and line breaks in a form as %22, %0D and %0A (WHATWG HTML,
 * "multipart/form-data encoding algorithm").
 */
function formValue(text: string | undefined): string | undefined {
  return text?.replace(/%(22|0d|0a)/gi, (_, code: string) => String.fromCharCode(parseInt(code, 16)));
}

/** `UTF-8''…` of RFC 8187: not allowed in forms (RFC 7578 §4.2), but sent by some; undefined when unreadable. */
function extendedValue(text: string | undefined): string | undefined {
  const encoded = /^utf-8'[^']*'(.*)$/i.exec(text ?? '')?.[1];
  if (encoded === undefined) return undefined;
  try {
    return decodeURIComponent(encoded);
  } catch {
    // Broken percent-encoding: the plain parameter stands.
    return undefined;
  }
}

function malformed(detail: string): Problem {
  return new Problem('malformed-body', { detail });
}
