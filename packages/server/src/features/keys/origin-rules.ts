import { BlockList, isIP } from 'node:net';

import type { KeyRules } from './queries.js';

/** True for an IP address and for a network such as `10.0.0.0/8`. */
export function isNetwork(text: string): boolean {
  const [address = '', bits, ...rest] = text.split('/');
  const version = isIP(address);
  if (version === 0 || rest.length > 0 || address.includes('%')) return false;
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128));
}

/** Whether a caller's address is one of some addresses and networks. An IPv4 address may come mapped into IPv6. */
export function isAmong(address: string, networks: readonly string[]): boolean {
  const plain = address.replace(/^::ffff:(?=\d+\.)/i, '');
  const version = isIP(plain);
  if (version === 0) return false;
  const list = new BlockList();
  for (const network of networks) {
    const [base = '', bits] = network.split('/');
    const family = isIP(base) === 4 ? 'ipv4' : 'ipv6';
    if (bits === undefined) list.addAddress(base, family);
    else list.addSubnet(base, Number(bits), family);
  }
  return list.check(plain, version === 4 ? 'ipv4' : 'ipv6');
}

/**
 * Why a key does not work for a request, as a sentence; undefined when it does. A key that is bound to pages is refused
 * without an Origin as well: programs have none, and are not meant.
 */
export function misuse(
  { allowedOrigins, allowedAddresses }: Pick<KeyRules, 'allowedOrigins' | 'allowedAddresses'>,
  request: { readonly origin: string | undefined; readonly address: string },
): string | undefined {
  if (allowedOrigins && !(request.origin !== undefined && allowedOrigins.includes(request.origin))) {
    return 'This API key works from other pages only.';
  }
  if (allowedAddresses && !isAmong(request.address, allowedAddresses)) {
    return 'This API key works from other addresses only.';
  }
  return undefined;
}
