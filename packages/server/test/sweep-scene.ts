import { createHash } from 'node:crypto';
import { utimes } from 'node:fs/promises';
import { join } from 'node:path';

import type { Damage, Remedies } from '../src/features/cleanup/integrity/damage.js';
import { claimStore } from '../src/features/cleanup/store-identity.js';
import {
  findingsOf,
  type FindingKind,
  type FindingRow,
} from '../src/features/cleanup/sweep/finding-queries.js';
import type { SweepMode, SweepRow } from '../src/features/cleanup/sweep/state-queries.js';
import {
  sweepStore,
  type SweepEnd,
  type SweepOptions,
  type SweepOrder,
} from '../src/features/cleanup/sweep/sweep.js';
import { openFile, settleFiles } from '../src/features/files/intake-queries.js';
import { inTransaction } from '../src/features/projects/queries.js';
import type { BlobStore } from '../src/foundation/blobs/blob-store.js';
import { originalKey, variantKey } from '../src/foundation/blobs/keys.js';
import { newId } from '../src/foundation/ids.js';
import { createUploadKit, type UploadKit, type UploadKitOptions } from './upload-kit.js';

export interface SceneFile {
  readonly id: string;
  readonly key: string;
  readonly bytes: Buffer;
}

/** A marked store with files, and a sweep over it. */
export interface SweepScene extends UploadKit {
  readonly projectId: string;
  /** What rooms above were told of. */
  readonly damages: Damage[];
  /** `fileId/name` of variants that were to be rendered again. */
  readonly rendered: string[];
  /** A ready file with its blob. */
  file(options?: { readonly projectId?: string; readonly bytes?: Buffer }): Promise<SceneFile>;
  /** A ready variant of a file, with its blob. */
  variant(file: SceneFile, name: string, extension?: string): Promise<SceneFile>;
  /** A file that is being uploaded; no blob. */
  uploading(): Promise<SceneFile>;
  /** A blob that was last changed so many seconds ago, two days when absent. */
  blob(key: string, options?: { readonly ageSeconds?: number; readonly bytes?: Buffer }): Promise<string>;
  /** A key for an original that no row names. */
  strayKey(projectId?: string): string;
  sweep(
    mode: SweepMode,
    options?: Partial<SweepOptions> & Partial<Omit<SweepOrder, 'mode'>>,
  ): Promise<SweepEnd>;
  /** The same for one that must finish. */
  swept(mode: SweepMode, options?: Parameters<SweepScene['sweep']>[1]): Promise<SweepRow>;
  findings(sweep: SweepRow, kind?: FindingKind): Promise<readonly FindingRow[]>;
  keys(prefix?: string): Promise<readonly string[]>;
  /** The real store with some of its abilities exchanged. */
  faulty(faults: Partial<BlobStore>): BlobStore;
}

const noLimit = { bytes: null, files: null };
const daySeconds = 24 * 60 * 60;

export async function createSweepScene(options: UploadKitOptions = {}): Promise<SweepScene> {
  const kit = await createUploadKit(options);
  const { db, blobs, folder } = kit;
  await claimStore({ db, blobs });
  const projectId = await kit.project();
  const damages: Damage[] = [];
  const rendered: string[] = [];
  const remedies: Remedies = {
    onDamage: async (_tx, damage) => void damages.push(damage),
    renderAgain: async (_tx, { fileId, name }) => {
      rendered.push(`${fileId}/${name}`);
      return true;
    },
  };

  const open = async (id: string, key: string, project: string, size: number): Promise<void> => {
    await inTransaction(db, (tx) =>
      openFile(
        tx,
        {
          id,
          projectId: project,
          key,
          filename: 'a.bin',
          mimeType: 'image/png',
          declaredType: null,
          createdBy: {},
          need: size,
          want: size,
        },
        noLimit,
      ),
    );
  };

  const scene: SweepScene = {
    ...kit,
    projectId,
    damages,
    rendered,
    async file({ projectId: project = projectId, bytes = Buffer.from('the bytes of a file') } = {}) {
      const id = newId();
      const key = originalKey(project, id, 'png');
      await open(id, key, project, bytes.length);
      await blobs.put(key, bytes);
      const sha256 = createHash('sha256').update(bytes).digest();
      await inTransaction(db, (tx) =>
        settleFiles(tx, project, [
          { id, status: 'ready', size: bytes.length, sha256, width: null, height: null },
        ]),
      );
      return { id, key, bytes };
    },
    async variant(file, name, extension = 'webp') {
      const bytes = Buffer.from(`the bytes of ${name}`);
      const key = variantKey(projectId, name, file.id, extension);
      await db
        .insertInto('variants')
        .values({
          file_id: file.id,
          project_id: projectId,
          name,
          status: 'ready',
          recipe: JSON.stringify({ width: 10 }),
          recipe_digest: 'x',
          generation: 1,
          s3_key: key,
          mime_type: 'image/webp',
          size: bytes.length,
          sha256: createHash('sha256').update(bytes).digest(),
        })
        .execute();
      await blobs.put(key, bytes);
      return { id: file.id, key, bytes };
    },
    async uploading() {
      const id = newId();
      const key = originalKey(projectId, id, 'png');
      await open(id, key, projectId, 10);
      return { id, key, bytes: Buffer.alloc(0) };
    },
    async blob(key, { ageSeconds = 2 * daySeconds, bytes = Buffer.from('nobody’s bytes') } = {}) {
      await blobs.put(key, bytes);
      const then = new Date(Date.now() - ageSeconds * 1000);
      await utimes(join(folder, key), then, then);
      return key;
    },
    strayKey: (project = projectId) => originalKey(project, newId(), 'png'),
    sweep(mode, { projectId: only, holder = newId(), signal, ...more } = {}) {
      return sweepStore(
        {
          db,
          blobs,
          graceSeconds: daySeconds,
          quarantineSeconds: 7 * daySeconds,
          maxDeletes: 1_000,
          brakePercent: 10,
          remedies,
          ...more,
        },
        {
          mode,
          holder,
          signal: signal ?? new AbortController().signal,
          ...(only === undefined ? {} : { projectId: only }),
        },
      );
    },
    async swept(mode, more) {
      const end = await scene.sweep(mode, more);
      if (end.kind !== 'finished') throw new Error(`the sweep did not finish: ${JSON.stringify(end)}`);
      return end.sweep;
    },
    async findings(sweep, kind) {
      const found: FindingRow[] = [];
      for await (const finding of findingsOf(db, sweep.id)) {
        if (kind === undefined || finding.kind === kind) found.push(finding);
      }
      return found;
    },
    async keys(prefix = '') {
      const found: string[] = [];
      for await (const { key } of blobs.list({ prefix })) found.push(key);
      return found;
    },
    faulty: (faults) => ({ ...blobs, ...faults }),
  };
  return scene;
}
