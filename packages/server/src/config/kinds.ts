import { isIP } from 'node:net';
import { isAbsolute, resolve } from 'node:path';

import bytes from 'bytes';

import { weakness } from './strength.js';

/** What reading one text gave: a value, or what is wrong with it, as the end of "NAME must …". */
export type Parsed<T> = { readonly value: T } | { readonly fault: string };

/** Reads one kind of setting from text and shows it again. No fault ever holds the text itself. */
export interface Kind<T> {
  /** What is accepted, as a noun phrase: "a whole number from 1 to 100". */
  readonly expects: string;
  /** `cwd` is the folder that relative paths count from. */
  parse(text: string, cwd: string): Parsed<T>;
  /** For a person; a secret shows nothing of itself. */
  show(value: T): string;
}

/** What is printed in place of a secret. */
export const mask = '********';

const unfit = (expects: string): { readonly fault: string } => ({ fault: `be ${expects}` });

export function integer(range: { readonly min: number; readonly max: number }): Kind<number> {
  const expects = `a whole number from ${range.min} to ${range.max}`;
  return {
    expects,
    parse(text) {
      const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
      return value >= range.min && value <= range.max ? { value } : unfit(expects);
    },
    show: String,
  };
}

const byteText = /^(\d{1,15}(?:\.\d{1,6})?) ?(?:([KMGT])(?:iB|B)?|B)?$/i;

/** Bytes as a number with an optional unit; KiB, KB and K all mean 1024. */
export function byteSize(range: { readonly min: string; readonly max: string }): Kind<number> {
  const expects = `a size in bytes from ${range.min} to ${range.max}, such as 512KiB or 5GiB`;
  const parse = (text: string): number => {
    const [, amount, unit] = byteText.exec(text) ?? [];
    if (amount === undefined) return Number.NaN;
    // bytes() knows no "GiB" (it would read 5 bytes), so it is given the unit it knows.
    return bytes.parse(`${amount}${unit ?? ''}b`) ?? Number.NaN;
  };
  const min = parse(range.min);
  const max = parse(range.max);
  return {
    expects,
    parse(text) {
      const value = parse(text);
      return value >= min && value <= max ? { value } : unfit(expects);
    },
    show: (value) => showInUnits(value, byteUnits),
  };
}

const byteUnits = [
  ['TiB', 1024 ** 4],
  ['GiB', 1024 ** 3],
  ['MiB', 1024 ** 2],
  ['KiB', 1024],
  ['B', 1],
] as const;

const durationUnits = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1000],
  ['ms', 1],
] as const;

/** The value in the largest unit that divides it without a rest. */
function showInUnits(value: number, units: readonly (readonly [string, number])[]): string {
  for (const [unit, size] of units) if (value > 0 && value % size === 0) return `${value / size}${unit}`;
  return String(value);
}

/** A span of time; the value is in milliseconds. */
export function duration(range: { readonly min: string; readonly max: string }): Kind<number> {
  const expects = `a duration from ${range.min} to ${range.max}, such as 500ms, 30s, 5m, 24h or 7d`;
  const parse = (text: string): number => {
    const [, amount, unit] = /^(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h|d)$/.exec(text) ?? [];
    const size = durationUnits.find(([name]) => name === unit)?.[1];
    return size === undefined ? Number.NaN : Math.round(Number(amount) * size);
  };
  const min = parse(range.min);
  const max = parse(range.max);
  return {
    expects,
    parse(text) {
      const value = parse(text);
      return value >= min && value <= max ? { value } : unfit(expects);
    },
    show: (value) => (value === 0 ? '0s' : showInUnits(value, durationUnits)),
  };
}

/** So many within a window of time, such as `100/15m`; `none` for any number. */
export function rate(): Kind<{ readonly points: number; readonly seconds: number } | null> {
  const expects = 'a number and a window of time from 1s to 30d, such as 100/15m, or none';
  const window = duration({ min: '1s', max: '30d' });
  return {
    expects,
    parse(text, cwd) {
      if (text === 'none') return { value: null };
      const [, number, time = ''] = /^([1-9]\d{0,8})\/(.+)$/.exec(text) ?? [];
      const length = window.parse(time, cwd);
      if (number === undefined || 'fault' in length || length.value % 1000 !== 0) return unfit(expects);
      return { value: { points: Number(number), seconds: length.value / 1000 } };
    },
    show: (value) => (value === null ? 'none' : `${value.points}/${window.show(value.seconds * 1000)}`),
  };
}

export function flag(): Kind<boolean> {
  const expects = 'true or false';
  return {
    expects,
    parse(text) {
      if (/^(true|yes|on|1)$/i.test(text)) return { value: true };
      if (/^(false|no|off|0)$/i.test(text)) return { value: false };
      return unfit(expects);
    },
    show: String,
  };
}

export function oneOf<const T extends string>(...choices: readonly T[]): Kind<T> {
  const expects = `one of ${choices.join(', ')}`;
  return {
    expects,
    parse(text) {
      const value = choices.find((choice) => choice === text);
      return value === undefined ? unfit(expects) : { value };
    },
    show: (value) => value,
  };
}

/** Text without control characters, of a bounded length; `pattern` narrows it, `expects` says to what. */
export function line(expects: string, pattern = /^[^\p{Cc}]{1,1024}$/u): Kind<string> {
  return {
    expects,
    parse: (text) => (pattern.test(text) ? { value: text } : unfit(expects)),
    show: (value) => value,
  };
}

/** A path; the value is absolute. */
export function folder(): Kind<string> {
  const expects = 'the path of a folder';
  return {
    expects,
    parse: (text, cwd) => (/^[^\0\r\n]{1,4096}$/.test(text) ? { value: resolve(cwd, text) } : unfit(expects)),
    show: (value) => value,
  };
}

/** Another program: its absolute path, `auto` to look for it, `off` for none. */
export function program(): Kind<string> {
  const expects = 'auto, off or the absolute path of a program';
  return {
    expects,
    parse: (text) =>
      text === 'auto' || text === 'off' || (isAbsolute(text) && /^[^\0\r\n]{1,4096}$/.test(text))
        ? { value: text }
        : unfit(expects),
    show: (value) => value,
  };
}

/** An http or https URL without user, query or fragment, kept as written. */
export function webUrl(options: { readonly path: 'allowed' | 'refused' }): Kind<string> {
  const expects =
    options.path === 'allowed'
      ? 'an http:// or https:// URL without a slash at its end, user, query or fragment'
      : 'an http:// or https:// URL of scheme, host and port only';
  return {
    expects,
    parse: (text) => (isWebUrl(text, options.path === 'allowed') ? { value: text } : unfit(expects)),
    show: (value) => value,
  };
}

function isWebUrl(text: string, pathAllowed: boolean): boolean {
  // The URL parser forgives blanks, backslashes and a missing slash; what is printed in links may not.
  if (!/^https?:\/\/[^\s\\?#@]+$/.test(text) || text.endsWith('/') || !URL.canParse(text)) return false;
  return pathAllowed || new URL(text).pathname === '/';
}

/** `postgres://…`. Shown without user, password and options. */
export function postgresUrl(): Kind<string> {
  const expects = 'a URL such as postgres://user:password@host:5432/name';
  const parse = (text: string): URL | undefined => {
    if (!/^postgres(ql)?:\/\/[^\s]+$/.test(text)) return undefined;
    // "postgres://user@/name?host=/folder" names a unix socket; the URL parser wants a host there.
    const readable = text.replace(/^([a-z]+:\/\/(?:[^/?#]*@)?)(?=\/)/, '$1localhost');
    if (!URL.canParse(readable)) return undefined;
    const url = new URL(readable);
    return url.pathname.length > 1 && url.hash === '' ? url : undefined;
  };
  return {
    expects,
    parse: (text) => (parse(text) ? { value: text } : unfit(expects)),
    show(value) {
      const url = parse(value);
      return url ? `${url.protocol}//${url.host}${url.pathname}` : mask;
    },
  };
}

/** A mail server with its credentials; shown without them. */
export function smtpUrl(): Kind<string> {
  const expects = 'a URL such as smtp://user:password@host:587 or smtps://host';
  const parse = (text: string): URL | undefined => {
    if (!/^smtps?:\/\/[^\s]+$/.test(text) || !URL.canParse(text)) return undefined;
    const url = new URL(text);
    const query = url.search === '' || url.search === '?tls=off';
    const plain = query && url.hash === '' && (url.pathname === '' || url.pathname === '/');
    return plain && url.hostname !== '' && canDecode(url.username) && canDecode(url.password)
      ? url
      : undefined;
  };
  return {
    expects,
    parse: (text) => (parse(text) ? { value: text } : unfit(expects)),
    show(value) {
      const url = parse(value);
      return url ? `${url.protocol}//${url.host}${url.search}` : mask;
    },
  };
}

function canDecode(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}

/** A text that is never shown, such as a cloud's access key. */
export function credential(): Kind<string> {
  const expects = 'one line of text without blanks';
  return {
    expects,
    parse: (text) => (/^[^\s\p{Cc}]{1,4096}$/u.test(text) ? { value: text } : unfit(expects)),
    show: () => mask,
  };
}

/** A key that signs; weak ones are refused. Used as the bytes of its text. */
export function signingSecret(): Kind<string> {
  return {
    expects: 'at least 32 random bytes as text; `openssl rand -base64 32` makes one',
    parse(text) {
      const why = weakness(text);
      return why === undefined
        ? { value: text }
        : { fault: `hold at least 32 random bytes, but ${why}; make one with: openssl rand -base64 32` };
    },
    show: () => mask,
  };
}

/** Several of something, separated by commas; blanks around them do not count. `none` is the empty list. */
export function list(expects: string, accepts: (item: string) => boolean): Kind<readonly string[]> {
  const whole = `${expects}, separated by commas, or none`;
  return {
    expects: whole,
    parse(text) {
      if (text === 'none') return { value: Object.freeze([]) };
      const items = text.split(',').map((item) => item.trim());
      return items.every(accepts) ? { value: Object.freeze([...new Set(items)]) } : unfit(whole);
    },
    show: (value) => (value.length === 0 ? 'none' : value.join(', ')),
  };
}

/** Origins as browsers send them (RFC 6454 §6.2), or `*` for all. */
export function origins(): Kind<readonly string[]> {
  return list(
    'origins such as https://app.example.com (or * for any)',
    (item) => item === '*' || (isWebUrl(item, false) && new URL(item).origin === item),
  );
}

const addressNames = new Set(['loopback', 'linklocal', 'uniquelocal']);

/** Addresses and networks whose forwarding headers are believed. */
export function addresses(): Kind<readonly string[]> {
  return list(
    'IP addresses, networks such as 10.0.0.0/8, loopback, linklocal or uniquelocal',
    (item) => addressNames.has(item) || isAddressOrNetwork(item),
  );
}

/** TCP ports, in decimal. */
export function ports(): Kind<readonly string[]> {
  return list('ports from 1 to 65535', (item) => /^[1-9]\d{0,4}$/.test(item) && Number(item) <= 65_535);
}

/** Hosts that a rule makes an exception for, one by one or by their network. */
export function hosts(): Kind<readonly string[]> {
  return list('host names, IP addresses or networks such as 10.0.0.0/8', (item) => {
    if (isAddressOrNetwork(item)) return true;
    // A name whose last label is a number would be read as an address.
    return /^(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*(?!\d+$)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/i.test(
      item,
    );
  });
}

function isAddressOrNetwork(item: string): boolean {
  const [address = '', bits, ...rest] = item.split('/');
  const version = isIP(address);
  if (version === 0 || rest.length > 0) return false;
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128));
}
