import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';

import { openScene, type Scene, type SceneFile } from '../../../test/content-scene.js';
import { Problem } from '../../foundation/problems.js';
import { createWaits, type Waits } from './waits.js';

let scene: Scene;
let file: SceneFile;
let waits: Waits;
const never = new AbortController().signal;

beforeAll(async () => {
  scene = await openScene();
});
afterAll(() => scene.close());
beforeEach(async () => {
  const project = await scene.project();
  file = await scene.file(project, { bytes: Buffer.from('x') });
  await scene.variant(file, project, 'thumbnail', Buffer.from('y'));
  await setStatus('rendering');
  waits = createWaits({ db: scene.db, log: scene.log, maxWaiters: 3, pollMs: 5 });
});
afterEach(() => waits.close());

async function setStatus(status: string): Promise<void> {
  await scene.db.updateTable('variants').set({ status }).where('file_id', '=', file.id).execute();
}

describe('a request that waits for a variant', () => {
  it.each(['ready', 'failed'])('goes on when it is %s', async (status) => {
    const both = Promise.all([
      waits.settled(file.id, 'thumbnail', 10_000, never),
      waits.settled(file.id, 'thumbnail', 10_000, never),
    ]);
    expect(waits.size).toBe(2);
    await setStatus(status);
    expect(await both).toEqual([true, true]);
    expect(waits.size).toBe(0);
  });

  it('goes on at once when it is told, without a look of its own', async () => {
    // Its own next look would come after the test's time limit.
    const patient = createWaits({ db: scene.db, log: scene.log, maxWaiters: 3, pollMs: 3_600_000 });
    const waiting = patient.settled(file.id, 'thumbnail', 3_600_000, never);
    await setStatus('ready');
    patient.changed(undefined);
    expect(await waiting).toBe(true);
  });

  it('is told during a look, and looks again', async () => {
    let looks = 0;
    let tell = (): void => undefined;
    const looked = new Promise<void>((resolve) => (tell = resolve));
    const db = new Proxy(scene.db, {
      get: (target, name) => {
        if (name === 'selectFrom' && ++looks === 1) tell();
        const value: unknown = Reflect.get(target, name);
        return typeof value === 'function' ? (value.bind(target) as unknown) : value;
      },
    });
    const patient = createWaits({ db, log: scene.log, maxWaiters: 3, pollMs: 3_600_000 });
    const waiting = patient.settled(file.id, 'thumbnail', 3_600_000, never);
    patient.changed(file.id);
    await looked;
    // The first look may or may not have seen it; the second one does.
    await setStatus('ready');
    patient.changed(file.id);
    expect(await waiting).toBe(true);
  });

  it('is not looked for when another file has changed', async () => {
    const idle = new Proxy(scene.db, {
      get: () => {
        throw new Error('nobody was to look');
      },
    });
    const patient = createWaits({ db: idle, log: scene.log, maxWaiters: 3, pollMs: 3_600_000 });
    const waiting = patient.settled(file.id, 'thumbnail', 3_600_000, never);
    patient.changed('another');
    patient.close();
    expect(await waiting).toBe(false);
  });

  it('goes on when there is no such variant any more', async () => {
    await scene.db.deleteFrom('variants').where('file_id', '=', file.id).execute();
    expect(await waits.settled(file.id, 'thumbnail', 10_000, never)).toBe(true);
  });

  it('gives up in time', async () => {
    expect(await waits.settled(file.id, 'thumbnail', 20, never)).toBe(false);
    expect(waits.size).toBe(0);
  });

  it('is let go when its client is gone', async () => {
    const client = new AbortController();
    const waiting = waits.settled(file.id, 'thumbnail', 10_000, client.signal);
    client.abort();
    expect(await waiting).toBe(false);
    expect(waits.size).toBe(0);
  });

  it('is let go when the server stops, and no other begins to wait', async () => {
    const waiting = waits.settled(file.id, 'thumbnail', 10_000, never);
    waits.close();
    expect(await waiting).toBe(false);
    expect(await waits.settled(file.id, 'thumbnail', 10_000, never)).toBe(false);
  });

  it('is refused when too many wait already', async () => {
    const held = [1, 2, 3].map(() => waits.settled(file.id, 'thumbnail', 10_000, never));
    let refusal: unknown;
    try {
      await waits.settled(file.id, 'thumbnail', 10_000, never);
    } catch (error) {
      refusal = error;
    }
    expect(refusal).toBeInstanceOf(Problem);
    expect(refusal).toMatchObject({ code: 'overloaded', members: { retryAfter: 2 } });
    await setStatus('ready');
    expect(await Promise.all(held)).toEqual([true, true, true]);
  });

  it('survives a database that does not answer for a moment', async () => {
    let broken = true;
    const db = new Proxy(scene.db, {
      get: (target, name) => {
        if (name === 'selectFrom' && broken) {
          broken = false;
          throw new Error('connection lost');
        }
        const value: unknown = Reflect.get(target, name);
        return typeof value === 'function' ? (value.bind(target) as unknown) : value;
      },
    });
    const flaky = createWaits({ db, log: scene.log, maxWaiters: 3, pollMs: 5 });
    const waiting = flaky.settled(file.id, 'thumbnail', 10_000, never);
    await setStatus('ready');
    expect(await waiting).toBe(true);
    expect(broken).toBe(false);
  });
});
