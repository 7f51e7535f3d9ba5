import type { Means, Point } from './points.js';
import type { Random } from './random.js';
import type { Operation } from './scene.js';

/** A point of an operation. */
export interface Planned {
  readonly operation: Operation;
  readonly point: Point;
}

/**
 * Points in the order of a seed, without end: rounds in which every operation comes once, by another means each time. Which
 * call it is that a process dies at is drawn from as many as the operation usually makes.
 */
export function* sample(
  operations: readonly Operation[],
  allowed: readonly Means[],
  random: Random,
): Generator<Planned> {
  const drawn = new Set<string>();
  for (let round = 0; ; round++) {
    for (const [place, operation] of random.shuffled(operations).entries()) {
      const by = allowed[(round + place) % allowed.length] ?? 'postgres';
      for (let tries = 0; tries < 10; tries++) {
        const point = draw(operation, by, random);
        const key = `${operation.name} ${by} ${point.number} ${point.moment}`;
        if (drawn.has(key)) continue;
        drawn.add(key);
        yield { operation, point };
        break;
      }
    }
  }
}

function draw(operation: Operation, by: Means, random: Random): Point {
  const number = 1 + random.below(by === 'random' ? 150 : operation.steps[by]);
  const moment = by === 'disk' || by === 'random' ? 'before' : random.pick(['before', 'after'] as const);
  return { means: by, number, moment };
}

/** Every point of an operation by one means, in order; `more` tells whether the last one was reached. */
export function* every(operation: Operation, by: Means, more: () => boolean): Generator<Planned> {
  const moments = by === 'disk' || by === 'random' ? (['before'] as const) : (['before', 'after'] as const);
  for (let number = 1; ; number++) {
    for (const moment of moments) {
      yield { operation, point: { means: by, number, moment } };
      if (!more()) return;
    }
  }
}
