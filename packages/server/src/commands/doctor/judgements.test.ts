import { describe, expect, it } from 'vitest';

import { judgeMemory, judgeNode, judgeOpenFiles, judgeSpace } from './machine.js';
import { judgeProxy, judgePublicUrl } from './settings.js';
import { judgeClock, judgeMigrations, judgeSearch } from './stock.js';
import { judgeDead, judgeDeletions, judgeQueue, judgeWorkers } from './work.js';
import type { Diagnosis, Status } from './diagnosis.js';

const GiB = 2 ** 30;
const space = { free: 50 * GiB, total: 100 * GiB, freeInodes: 0.9, maxUploadBytes: 5 * GiB };
const alone = {
  publicUrl: 'http://localhost:8420',
  host: '127.0.0.1',
  databaseUrl: undefined,
  store: 'disk',
  trustProxy: [],
} as const;
const open = { ...alone, host: '0.0.0.0' };
const behind = { ...open, publicUrl: 'https://media.example.com' };
const idle = { interactive: 0, normal: 0, background: 0 };
const quiet = { waiting: 3, failing: 0, seconds: 60, lastError: null };

describe('the doctor judges', () => {
  it.each<[string, Status, Diagnosis]>([
    ['a Node.js that is new enough', 'ok', judgeNode('20.19.0')],
    ['a newer one', 'ok', judgeNode('24.0.1')],
    ['one of an older minor version', 'fail', judgeNode('20.18.3')],
    ['an old one', 'fail', judgeNode('18.20.8')],
    ['the usual limit of open files', 'warn', judgeOpenFiles(1_024)],
    ['a high one', 'ok', judgeOpenFiles(65_536)],
    ['none at all', 'ok', judgeOpenFiles(Number.POSITIVE_INFINITY)],
    ['one that cannot be read', 'none', judgeOpenFiles(undefined)],
    ['a disk with room', 'ok', judgeSpace(space)],
    ['one that is nearly full', 'warn', judgeSpace({ ...space, free: 9 * GiB })],
    ['one without room for an upload', 'warn', judgeSpace({ ...space, free: 4 * GiB, total: 10 * GiB })],
    ['one without inodes', 'warn', judgeSpace({ ...space, freeInodes: 0.001 })],
    ['a full one', 'fail', judgeSpace({ ...space, free: GiB / 8 })],
    ['decoders that fit', 'ok', judgeMemory({ imagingProcesses: 2, imagingMemoryBytes: GiB }, 4 * GiB)],
    ['those that do not', 'warn', judgeMemory({ imagingProcesses: 8, imagingMemoryBytes: GiB }, 4 * GiB)],
    ['an installation for its own machine', 'ok', judgePublicUrl(alone)],
    ['links to localhost that others get', 'warn', judgePublicUrl(open)],
    [
      'the same with a database elsewhere',
      'warn',
      judgePublicUrl({ ...alone, databaseUrl: 'postgres://db/x' }),
    ],
    [
      'plain http across a network',
      'warn',
      judgePublicUrl({ ...open, publicUrl: 'http://media.example.com' }),
    ],
    ['https', 'ok', judgePublicUrl(behind)],
    ['a proxy that is not trusted', 'warn', judgeProxy(behind)],
    ['a proxy that is', 'ok', judgeProxy({ ...behind, trustProxy: ['10.0.0.1'] })],
    ['clocks that agree', 'ok', judgeClock(-1_900)],
    ['clocks that do not quite', 'warn', judgeClock(-2_100)],
    ['clocks that do not at all', 'fail', judgeClock(60_001)],
    ['a search by trigrams', 'ok', judgeSearch({ searchesByTrigrams: true, hasTrigrams: true })],
    ['one that could have them', 'warn', judgeSearch({ searchesByTrigrams: false, hasTrigrams: true })],
    ['a schema of another program', 'fail', judgeMigrations({ schema: { fault: 'It is newer.' } })],
    ['a timetable that is kept', 'ok', judgeWorkers({ name: 'purge-blobs', seconds: 3 })],
    ['one without lines', 'ok', judgeWorkers(undefined)],
    ['one that is not kept', 'warn', judgeWorkers({ name: 'purge-blobs', seconds: 301 })],
    ['a queue that moves', 'ok', judgeQueue({ ...idle, background: 1_800 })],
    ['people who wait', 'warn', judgeQueue({ ...idle, interactive: 31 })],
    ['uploads that wait', 'warn', judgeQueue({ ...idle, normal: 121 })],
    ['no dead letters', 'ok', judgeDead([{ kind: 'render-variants', state: 'waiting', count: 4 }])],
    ['dead letters', 'warn', judgeDead([{ kind: 'render-variants', state: 'dead', count: 4 }])],
    ['deletions under way', 'ok', judgeDeletions(quiet)],
    ['deletions that nobody does', 'warn', judgeDeletions({ ...quiet, seconds: 3_601 })],
    ['deletions that the store refuses', 'warn', judgeDeletions({ ...quiet, failing: 1, lastError: 'no' })],
  ])('%s: %s', (_what, status, diagnosis) => {
    expect(diagnosis.status).toBe(status);
    // Whoever is told of a fault is told what to do.
    expect(diagnosis.todo !== undefined).toBe(status === 'warn' || status === 'fail');
  });

  it('a server without trigrams by telling where to get them', () => {
    expect(judgeSearch({ searchesByTrigrams: false, hasTrigrams: false }).todo).toContain('contrib');
  });
});
