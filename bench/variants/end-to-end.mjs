import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

import pg from 'pg';

import { createImaging } from '../../packages/server/dist/foundation/imaging/pool.js';
import { startEmbedded } from '../../packages/server/dist/foundation/database/embedded.js';
import { createLog } from '../../packages/server/dist/foundation/log.js';
import { uploadTo } from '../machine.mjs';

/** Pause between two looks whether a file is ready; a look takes about a millisecond. */
const lookEveryMs = 3;
/** Nobody looks before this part of the shortest time that any photo took to render: looking takes CPU from rendering. */
const notBefore = 0.9;
/** Uploads before anything counts: code is compiled, connections are opened. */
const warmUps = 5;

/**
 * Uploads photos one after another and waits for their variants: by looking again and again, and by `?wait=`; between
 * the two the same photo is rendered by an engine of this process.
 * @returns milliseconds of each photo, and of each job's wait in the queue.
 */
export async function endToEnd({ server, data, files, scratch, recipes }, photos) {
  const log = await createLog({ level: 'error', pretty: false });
  const imaging = createImaging({ log, size: 1, memoryLimitBytes: 2 ** 30, wallClockMs: 60_000 });
  const embedded = await startEmbedded({ folder: join(data, 'postgres'), log });
  const database = new pg.Client({ connectionString: embedded.url });
  await database.connect();
  try {
    const request = Object.entries(recipes).map(([name, recipe]) => ({ name, recipe }));
    const outputFolder = join(scratch, 'rendered');
    let shortest = Infinity;
    const render = async (path) => {
      await mkdir(outputFolder);
      const began = performance.now();
      await imaging.render({ path, recipes: request, outputFolder });
      const renderMs = performance.now() - began;
      shortest = Math.min(shortest, renderMs);
      await rm(outputFolder, { recursive: true });
      return renderMs;
    };
    const runs = [];
    for (let n = -warmUps; n < photos; n++) {
      if (n === 0) await recordClaims(database);
      const { path, bytes } = files[(n + warmUps) % files.length];
      // Every second photo goes the other way round, so that nobody always comes first.
      const steps = [
        async () => uploadAndLook(server, bytes, shortest === Infinity ? 0 : shortest * notBefore),
        async () => ({ renderMs: await render(path) }),
        async () => uploadAndWait(server, bytes),
      ];
      let run = {};
      for (const step of n % 2 === 0 ? steps : steps.reverse()) run = { ...run, ...(await step()) };
      if (n >= 0) runs.push(run);
    }
    return { runs, queueMs: await waitsInQueue(database) };
  } finally {
    await database.end();
    await embedded.stop();
    await imaging.close();
  }
}

async function uploadAndLook(server, bytes, firstLookMs) {
  const began = performance.now();
  const { id } = await uploadTo(server, 'photo', bytes);
  const answeredMs = performance.now() - began;
  await pause(Math.max(0, firstLookMs - answeredMs));
  for (;;) {
    const { status, failure } = await server.call(`/files/${id}`, undefined, { 'x-api-key': server.key });
    if (status === 'ready') return { answeredMs, wholeMs: performance.now() - began };
    if (status !== 'processing') throw new Error(`a photo became ${status}: ${failure}`);
    await pause(lookEveryMs);
  }
}

/** The file is ready in the same moment as each of its variants: one transaction. */
async function uploadAndWait(server, bytes) {
  const began = performance.now();
  const { id } = await uploadTo(server, 'photo', bytes);
  const answer = await fetch(`${server.url}/files/${id}/content?variant=card&wait=30`, {
    headers: { 'x-api-key': server.key },
  });
  await answer.arrayBuffer();
  const type = answer.headers.get('content-type');
  if (answer.status !== 200 || type !== 'image/avif')
    throw new Error(`the variant answered ${answer.status}, ${type}`);
  return { waitedMs: performance.now() - began };
}

/**
 * A running job's row knows when it was claimed, and goes with the job's end: a trigger in this database keeps it. A
 * job counts as enqueued from the beginning of the transaction that ends the upload, a little before its commit.
 */
async function recordClaims(database) {
  await database.query(`
    CREATE TABLE claims_for_bench (kind text, waited interval);
    CREATE FUNCTION keep_claim_for_bench() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        INSERT INTO claims_for_bench VALUES (OLD.kind, OLD.claimed_at - OLD.created_at);
        RETURN NULL;
      END
    $$;
    CREATE TRIGGER keep_claim_for_bench AFTER DELETE ON running_jobs
      FOR EACH ROW EXECUTE FUNCTION keep_claim_for_bench();
  `);
}

async function waitsInQueue(database) {
  const { rows } = await database.query(
    `SELECT extract(epoch FROM waited)::float8 * 1000 AS ms FROM claims_for_bench WHERE kind = 'render-variants'`,
  );
  await database.query('DROP FUNCTION keep_claim_for_bench CASCADE; DROP TABLE claims_for_bench');
  return rows.map(({ ms }) => ms);
}
