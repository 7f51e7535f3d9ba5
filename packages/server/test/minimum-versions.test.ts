import { readFileSync } from 'node:fs';

import { describe, expect, it } from 'vitest';

interface Minimum {
  readonly name: string;
  readonly minimum: string;
  readonly advisories: readonly string[];
  readonly why: string;
}

const read = (path: string): unknown =>
  JSON.parse(readFileSync(new URL(`../../../${path}`, import.meta.url), 'utf8'));
const minimums = read('security/minimum-versions.json') as readonly Minimum[];
const lock = read('package-lock.json') as {
  readonly packages: Readonly<Record<string, { readonly version?: string }>>;
};

/** Of what a release is; what comes before one (`1.0.0-rc.1`) is no release. */
function numbersOf(version: string): number[] {
  if (!/^\d+\.\d+\.\d+$/.test(version)) throw new Error(`${version} is no release`);
  return version.split('.').map(Number);
}

/** Less than zero when the first is older. */
function compare(one: string, other: string): number {
  const [a, b] = [numbersOf(one), numbersOf(other)];
  const at = a.findIndex((number, index) => number !== b[index]);
  return at < 0 ? 0 : (a[at] ?? 0) - (b[at] ?? 0);
}

describe('the list of minimum versions', () => {
  it.each(minimums)('$name is $minimum or newer wherever the lock file has it', ({ name, minimum, why }) => {
    const found = Object.entries(lock.packages).flatMap(([path, { version }]) =>
      version !== undefined && path.endsWith(`node_modules/${name}`) ? [version] : [],
    );
    expect(found.length, 'what is not built in needs no minimum').toBeGreaterThan(0);
    expect(
      found.filter((version) => compare(version, minimum) < 0),
      why,
    ).toEqual([]);
  });

  it('compares versions by their numbers', () => {
    expect(compare('1.10.0', '1.9.9')).toBeGreaterThan(0);
    expect(compare('1.2.3', '1.2.3')).toBe(0);
    expect(compare('0.35.4', '0.35.10')).toBeLessThan(0);
    expect(() => compare('1.0.0-rc.1', '1.0.0')).toThrow('no release');
  });

  it('names advisories as they are looked up', () => {
    for (const { advisories } of minimums)
      for (const one of advisories) expect(one).toMatch(/^(CVE-\d{4}-\d{4,}|GHSA(-[0-9a-z]{4}){3})$/);
  });
});
