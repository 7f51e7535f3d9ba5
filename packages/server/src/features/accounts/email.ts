import { domainToASCII, domainToUnicode } from 'node:url';

/** An address as its owner writes it, and the one form that uniqueness and look-ups use. */
export interface Email {
  readonly shown: string;
  readonly canonical: string;
}

/** RFC 5321 §4.5.3.1: octets of the local part, and of an address that fits a path with its brackets. */
const maxLocalBytes = 64;
const maxBytes = 254;

/** One label of a host name (RFC 1123 §2.1). */
const label = '[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?';
const domainPattern = new RegExp(`^${label}(?:\\.${label})*$`);
/**
 * No white space, control or invisible format characters, no half surrogates, none of the specials of RFC 5322
 * §3.2.3: quoted local parts exist on paper only, and look-alikes with them do harm.
 */
const localPattern = /^[^\s\p{Cc}\p{Cf}\p{Cs}()<>[\]:;@\\,"]+$/u;
/** What a URL parser would take for syntax; `domainToASCII` is one. */
const domainRefused = /[\s\p{Cc}\p{Cf}\p{Cs}/\\?#%:@[\]<>^|]/u;

/**
 * Reads an e-mail address. Canonical: trimmed, NFC, lower case, the domain in ASCII (`bücher.example` and
 * `xn--bcher-kva.example` are one). The local part keeps dots and plus signs: they differ for some servers.
 *
 * @returns undefined when it is no address.
 */
export function readEmail(text: string): Email | undefined {
  const shown = text.trim().normalize('NFC');
  const at = shown.lastIndexOf('@');
  if (at < 1) return undefined;
  const local = shown.slice(0, at).toLowerCase().normalize('NFC');
  const written = shown.slice(at + 1);
  if (!localPattern.test(local) || domainRefused.test(written)) return undefined;
  const domain = domainToASCII(written.toLowerCase());
  if (!domainPattern.test(domain) || !isPunycode(domain)) return undefined;
  const canonical = `${local}@${domain}`;
  if (Buffer.byteLength(local) > maxLocalBytes || Buffer.byteLength(canonical) > maxBytes) return undefined;
  return { shown, canonical };
}

/**
 * Whether every `xn--` label stands for something: Node.js 24 lets those pass that Node.js 20 refuses, and a
 * canonical form may not depend on who computed it.
 */
function isPunycode(domain: string): boolean {
  return domain
    .split('.')
    .filter((label) => label.startsWith('xn--'))
    .every((label) => domainToASCII(domainToUnicode(label)) === label && domainToUnicode(label) !== label);
}
