import { compareKeys } from './keys.js';

/** One key with what each list has under it. */
export interface Merged<A, B, C> {
  readonly key: string;
  readonly first: A | undefined;
  readonly second: B | undefined;
  readonly third: C | undefined;
}

interface Keyed {
  readonly key: string;
}

/**
 * Walks three lists that are ordered by the bytes of their keys side by side: every key once, in that order, one
 * item of each list in memory.
 */
export async function* mergeKeys<A extends Keyed, B extends Keyed, C extends Keyed>(
  a: AsyncIterable<A>,
  b: AsyncIterable<B>,
  c: AsyncIterable<C>,
): AsyncGenerator<Merged<A, B, C>> {
  const [first, second, third] = [cursorOf(a), cursorOf(b), cursorOf(c)];
  try {
    await Promise.all([first.advance(), second.advance(), third.advance()]);
    while (true) {
      const keys = [first.head, second.head, third.head].flatMap((head) => (head ? [head.key] : []));
      if (keys.length === 0) return;
      const key = keys.reduce((least, other) => (compareKeys(other, least) < 0 ? other : least));
      yield { key, first: first.at(key), second: second.at(key), third: third.at(key) };
      for (const cursor of [first, second, third]) if (cursor.head?.key === key) await cursor.advance();
    }
  } finally {
    await Promise.all([first.end(), second.end(), third.end()]);
  }
}

interface Cursor<T> {
  readonly head: T | undefined;
  /** The head when it has this key. */
  at(key: string): T | undefined;
  advance(): Promise<void>;
  end(): Promise<void>;
}

function cursorOf<T extends Keyed>(items: AsyncIterable<T>): Cursor<T> {
  const iterator = items[Symbol.asyncIterator]();
  let head: T | undefined;
  return {
    get head() {
      return head;
    },
    at: (key) => (head?.key === key ? head : undefined),
    advance: async () => {
      const next = await iterator.next();
      head = next.done ? undefined : next.value;
    },
    end: async () => {
      await iterator.return?.();
    },
  };
}
