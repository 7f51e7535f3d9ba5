import type { Caller } from '../access/caller.js';

/** Who brings a file, as its row keeps it. */
export function creatorOf(caller: Caller): { readonly userId?: string; readonly keyId?: string } {
  switch (caller.kind) {
    case 'user':
      return { userId: caller.userId };
    case 'key':
      return { keyId: caller.keyId };
    default:
      return {};
  }
}
