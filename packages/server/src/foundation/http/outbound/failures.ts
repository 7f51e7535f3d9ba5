/**
 * The request is not made, or not followed any further: its URL leads where this server does not go. The message is a
 * sentence for whoever gave the URL. It is one and the same for all hosts that are unknown or not public, so that
 * nobody learns from it what there is in the network around the server.
 */
export class OutboundRefused extends Error {
  override readonly name = 'OutboundRefused';
}

/**
 * The other side did not deliver. The message is a sentence for whoever gave the URL, and holds nothing that the other
 * side has written; `cause` is for logs.
 */
export class OutboundFailed extends Error {
  override readonly name = 'OutboundFailed';
  /** Whether trying again later may help. */
  readonly passing: boolean;

  constructor(message: string, { passing, cause }: { readonly passing: boolean; readonly cause?: unknown }) {
    super(message, cause === undefined ? {} : { cause });
    this.passing = passing;
  }
}

export function unreachable(): OutboundRefused {
  return new OutboundRefused('The host of the URL is unknown or has an address that is not public.');
}
