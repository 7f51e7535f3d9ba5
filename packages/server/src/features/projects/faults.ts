import type { FieldError } from '../../foundation/problems.js';

/** Most faults that are kept; a hostile body could otherwise make thousands. */
const maxFaults = 50;

/** Collects what is wrong and where, so that one answer tells everything. */
export class FaultList {
  readonly list: FieldError[] = [];

  /** @param pointer JSON pointer (RFC 6901) into the request body. */
  add(pointer: string, detail: string): void {
    if (this.list.length < maxFaults) this.list.push({ pointer, detail });
  }

  /** The pointer of a member of what stands at `pointer`. */
  below(pointer: string, member: string): string {
    // A name may be as long as the body; the pointer only has to be found.
    const name = member.length > 100 ? `${member.slice(0, 100)}…` : member;
    return `${pointer}/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`;
  }
}

/**
 * Reads an object. With `names`, only those members are read, and any other is a fault or ignored.
 * What is no object is a fault and reads as empty.
 */
export function readMembers<N extends string>(
  value: unknown,
  names: readonly N[] | undefined,
  at: string,
  faults: FaultList,
  unknown: 'refuse' | 'ignore',
): Readonly<Partial<Record<N, unknown>>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    faults.add(at, 'must be an object');
    return Object.create(null) as Partial<Record<N, unknown>>;
  }
  const known: readonly string[] | undefined = names;
  const read = Object.create(null) as Record<string, unknown>;
  for (const [name, member] of Object.entries(value)) {
    if (known === undefined || known.includes(name)) read[name] = member;
    else if (unknown === 'refuse') faults.add(faults.below(at, name), 'is not known');
  }
  return read as Partial<Record<N, unknown>>;
}

/** Reads a whole number of a range; undefined takes the default. */
export function readInteger<D>(
  value: unknown,
  range: { readonly min: number; readonly max: number; readonly orNull?: boolean },
  standard: D,
  at: string,
  faults: FaultList,
): number | D {
  if (value === undefined) return standard;
  if (typeof value === 'number' && Number.isInteger(value) && value >= range.min && value <= range.max) {
    return value;
  }
  faults.add(
    at,
    `must be a whole number from ${range.min} to ${range.max}${range.orNull ? ', or null' : ''}`,
  );
  return standard;
}

/** Reads true or false; undefined takes the default. */
export function readBoolean<D>(value: unknown, standard: D, at: string, faults: FaultList): boolean | D {
  if (value === undefined || typeof value === 'boolean') return value ?? standard;
  faults.add(at, 'must be true or false');
  return standard;
}

/** Reads one of some words; undefined takes the default. */
export function readChoice<T extends string>(
  value: unknown,
  choices: readonly T[],
  standard: T,
  at: string,
  faults: FaultList,
): T {
  if (value === undefined) return standard;
  const found = choices.find((choice) => choice === value);
  if (found !== undefined) return found;
  faults.add(at, `must be one of ${choices.join(', ')}`);
  return standard;
}
