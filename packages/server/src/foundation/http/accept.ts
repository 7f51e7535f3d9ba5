/**
 * The media types that an `Accept` header names itself and does not refuse (RFC 9110 §12.5.1), in lower case. Wildcards
 * are left out: those who send them do not say that they know a new format.
 */
export function namedTypes(accept: string | undefined): ReadonlySet<string> {
  const named = new Set<string>();
  for (const part of accept?.split(',') ?? []) {
    const [type = '', ...parameters] = part.split(';').map((text) => text.trim().toLowerCase());
    const refused = parameters.some((parameter) => /^q=0(\.0{0,3})?$/.test(parameter));
    if (!refused && /^[^\s/*]+\/[^\s/*]+$/.test(type)) named.add(type);
  }
  return named;
}
