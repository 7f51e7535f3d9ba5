/**
 * Which methods a path answers, for `405` with `Allow` (RFC 9110 §15.5.6); the router itself only tells
 * that a method and a path do not go together.
 */
export class RouteIndex {
  readonly #patterns = new Map<string, { readonly match: RegExp; readonly methods: Set<string> }>();

  /** Takes a route as it is registered: one method or several, and its pattern (`/files/:id`). */
  add(methods: string | readonly string[], pattern: string): void {
    // A catch-all (CORS preflights) says nothing about which paths exist.
    if (pattern === '*') return;
    let entry = this.#patterns.get(pattern);
    if (!entry) {
      const source = pattern
        .split('/')
        .map((part) => (part.startsWith(':') ? '[^/]+' : part === '*' ? '.*' : escape(part)))
        .join('/');
      entry = { match: new RegExp(`^${source}$`), methods: new Set() };
      this.#patterns.set(pattern, entry);
    }
    for (const method of typeof methods === 'string' ? [methods] : methods) entry.methods.add(method);
  }

  /** The methods of every pattern that fits the path, sorted; empty when none does. */
  methodsFor(path: string): string[] {
    const found = new Set<string>();
    for (const { match, methods } of this.#patterns.values()) {
      if (match.test(path)) for (const method of methods) found.add(method);
    }
    return [...found].sort();
  }
}

function escape(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}
