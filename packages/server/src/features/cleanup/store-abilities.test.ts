import { describe, expect, it } from 'vitest';

import {
  StoreUnavailable,
  type BlobStore,
  type StoreCapabilities,
} from '../../foundation/blobs/blob-store.js';
import { createLog } from '../../foundation/log.js';
import { reportAbilities } from './store-abilities.js';

const everything: StoreCapabilities = {
  conditionalPut: true,
  multipart: true,
  sealedMultipart: true,
  signedUrls: true,
  signedForms: true,
};

type Answering = Pick<BlobStore, 'backend' | 'capabilities'>;

/** What is logged about a store that answers so. */
async function report(
  store: Answering,
  signal: AbortSignal = new AbortController().signal,
): Promise<readonly Record<string, unknown>[]> {
  const lines: Record<string, unknown>[] = [];
  const log = await createLog({
    level: 'info',
    pretty: false,
    destination: { write: (line: string) => void lines.push(JSON.parse(line) as Record<string, unknown>) },
  });
  // Only these two are asked for.
  await reportAbilities(store as BlobStore, log, signal);
  return lines;
}

const s3 = (capabilities: BlobStore['capabilities']): Answering => ({ backend: 's3', capabilities });

describe('what a store lacks', () => {
  it('is said in one line each, with what follows from it', async () => {
    const lines = await report(
      s3(() => Promise.resolve({ ...everything, conditionalPut: false, signedForms: false })),
    );
    expect(lines).toMatchObject([
      {
        level: 'warn',
        ability: 'conditionalPut',
        msg: expect.stringContaining('no conditional put') as unknown,
      },
      { level: 'warn', ability: 'signedForms', msg: expect.stringContaining('no forms') as unknown },
    ]);
    const nothing = await report(
      s3(() =>
        Promise.resolve({
          conditionalPut: false,
          multipart: false,
          sealedMultipart: false,
          signedUrls: false,
          signedForms: false,
        }),
      ),
    );
    expect(nothing).toHaveLength(5);
  });

  it('is nothing where it has everything, and on disk nothing is asked', async () => {
    expect(await report(s3(() => Promise.resolve(everything)))).toEqual([]);
    expect(await report({ backend: 'disk', capabilities: () => Promise.reject(new Error('asked')) })).toEqual(
      [],
    );
  });

  it('that does not answer is unknown, which is no failure; nor is being stopped meanwhile', async () => {
    const silent = s3(() => Promise.reject(new StoreUnavailable('no answer', '')));
    expect(await report(silent)).toMatchObject([{ level: 'warn' }]);
    expect(await report(silent, AbortSignal.abort())).toEqual([]);
  });
});
