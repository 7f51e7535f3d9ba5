import { verdictOf, type Verdict } from './expectations.js';
import { idSetsOf, type IdSet } from './ids.js';
import type { Operation } from './operations.js';
import type { Credential, MatrixScene } from './scene.js';

/** One request of the matrix, and what must come of it. */
export interface Case {
  readonly operation: Operation;
  readonly caller: Credential;
  readonly ids: IdSet;
  readonly verdict: Verdict;
  /** The choice of ids whose refusal is the same byte for byte: of the same kind, and with nothing there. */
  readonly equal: IdSet;
}

/** Every operation × every credential × every choice of ids. */
export function casesOf(scene: MatrixScene, operations: readonly Operation[]): Case[] {
  return operations.flatMap((operation) =>
    scene.credentials.flatMap((caller) => {
      const sets = idSetsOf(operation, scene, caller);
      return sets.map((ids) => {
        const verdict = judge(operation, caller, ids);
        return { operation, caller, ids, verdict, equal: equalOf(ids, sets, verdict) };
      });
    }),
  );
}

function judge({ permission, sample }: Operation, caller: Credential, { target, dead }: IdSet): Verdict {
  // The signature in the address is the credential, which nobody here has.
  if (permission === 'uploads:signed') return 403;
  const verdict = verdictOf(permission, caller, target);
  if (verdict !== 'allowed') return verdict;
  return dead || sample.unseenBy?.includes(caller.name) === true ? 404 : verdict;
}

function equalOf(ids: IdSet, sets: readonly IdSet[], verdict: Verdict): IdSet {
  const { target } = ids;
  const equal =
    verdict === 403
      ? // Who is told what is missing knows of the project.
        sets.find((set) => set.target?.place === target?.place && set.target?.trashed === target?.trashed)
      : sets.find(({ name }) => name === ids.like);
  return equal ?? ids;
}

/** For people who read a deviation. */
export const labelOf = ({ operation, caller, ids }: Case): string =>
  `${operation.name} | ${caller.name} | ${ids.name}`;

/** Eight at a time, as clients would. */
export async function inParallel<T>(items: readonly T[], run: (item: T) => Promise<void>): Promise<void> {
  const left = items.values();
  await Promise.all(
    Array.from({ length: 8 }, async () => {
      for (const item of left) await run(item);
    }),
  );
}
