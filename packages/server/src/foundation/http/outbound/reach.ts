import { isIP } from 'node:net';

import ipaddr from 'ipaddr.js';

import { OutboundRefused, unreachable } from './failures.js';

export interface ReachOptions {
  /** Ports that may be connected to, in decimal. */
  readonly ports: readonly string[];
  /** Host names, addresses and networks (`10.0.0.0/8`) that may be reached although they are not public. */
  readonly allow: readonly string[];
}

/** Where outbound requests may go. */
export interface Reach {
  /**
   * Judges what a URL says by itself; of a host name only `permits` can tell.
   * @throws OutboundRefused
   */
  checkUrl(url: URL): void;
  /** Whether an address, which is the host itself or one that its name has, may be connected to. */
  permits(host: string, address: string): boolean;
}

type Address = ipaddr.IPv4 | ipaddr.IPv6;

/** What the cloud serves to its own machines under a public address (Azure's WireServer). */
const hostServices = new Set(['168.63.129.16']);
/** All that IANA has given out for unicast (RFC 3513); what lies outside is local, reserved or embeds other addresses. */
const globalUnicast = ipaddr.parseCIDR('2000::/3');
/** The well-known prefix of NAT64 (RFC 6052), behind which an IPv4 address stands. 64:ff9b:1::/48 is local (RFC 8215). */
const nat64 = ipaddr.parseCIDR('64:ff9b::/96');
const standardPorts: Readonly<Record<string, string>> = { 'http:': '80', 'https:': '443' };

export function createReach({ ports, allow }: ReachOptions): Reach {
  const names = new Set(allow.filter((item) => !isAddress(item)).map((name) => name.toLowerCase()));
  const networks = allow.filter(isAddress).map(networkOf);

  const permits = (host: string, text: string): boolean => {
    if (names.has(host)) return true;
    const address = addressOf(text);
    if (!address) return false;
    return isPublic(address) || networks.some((network) => contains(network, address));
  };

  return {
    permits,
    checkUrl(url) {
      const standard = standardPorts[url.protocol];
      if (standard === undefined) throw new OutboundRefused('The URL is neither http nor https.');
      if (url.username !== '' || url.password !== '') {
        throw new OutboundRefused('The URL holds a user name or a password.');
      }
      if (!ports.includes(url.port === '' ? standard : url.port)) {
        throw new OutboundRefused('The URL names a port that is not allowed.');
      }
      const host = bareHost(url.hostname);
      if (isIP(host) !== 0 && !permits(host, host)) throw unreachable();
    },
  };
}

/** The host of a URL or a socket; IPv6 without its brackets. */
export function bareHost(hostname: string): string {
  return hostname.startsWith('[') ? hostname.slice(1, -1) : hostname;
}

function isAddress(item: string): boolean {
  return isIP(item.split('/', 1)[0] ?? '') !== 0;
}

/**
 * Reads an address as the system writes it. IPv6 goes through the URL parser first, because ipaddr.js takes
 * `::1.2.3.4` for `::ffff:1.2.3.4`. One with a zone belongs to a link of this machine.
 */
function addressOf(text: string): Address | undefined {
  switch (isIP(text)) {
    case 4:
      return ipaddr.IPv4.parse(text);
    case 6: {
      if (text.includes('%')) return undefined;
      const address = ipaddr.IPv6.parse(bareHost(new URL(`http://[${text}]`).hostname));
      return address.isIPv4MappedAddress() ? address.toIPv4Address() : address;
    }
    default:
      return undefined;
  }
}

function isPublic(address: Address): boolean {
  if (isIPv4(address)) return address.range() === 'unicast' && !hostServices.has(address.toString());
  if (contains(nat64, address)) return isPublic(new ipaddr.IPv4(address.toByteArray().slice(12)));
  return address.range() === 'unicast' && contains(globalUnicast, address);
}

function networkOf(item: string): [Address, number] {
  const [text = '', bits] = item.split('/', 2);
  const address = ipaddr.parse(text);
  return [address, bits === undefined ? (isIPv4(address) ? 32 : 128) : Number(bits)];
}

function contains([network, bits]: [Address, number], address: Address): boolean {
  return network.kind() === address.kind() && address.match(network, bits);
}

function isIPv4(address: Address): address is ipaddr.IPv4 {
  return address.kind() === 'ipv4';
}
