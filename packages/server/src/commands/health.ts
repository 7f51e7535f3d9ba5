/** What `GET /readyz` said, in words. */
export interface HealthAnswer {
  readonly ready: boolean;
  readonly text: string;
}

/** Longest wait for the answer, in milliseconds; the server bounds its own probes at 2 s. */
const timeoutMs = 5_000;

/** Asks a running server whether it can do its work. */
export async function askHealth(url: string): Promise<HealthAnswer> {
  let response: Response;
  try {
    response = await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(timeoutMs) });
  } catch (error) {
    const why =
      error instanceof Error && error.name === 'TimeoutError' ? 'did not answer in time' : 'does not answer';
    return { ready: false, text: `${url} ${why}` };
  }
  return { ready: response.ok, text: await response.text() };
}
