/**
 * A sweep over a store of a million keys, which a generator stands for: what is measured is the merge with the real rows,
 * not the store. Every thousandth key has no row, every other thousandth row no blob.
 */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';

import { claimStore } from '../../packages/server/dist/features/cleanup/store-identity.js';
import { sweepStore } from '../../packages/server/dist/features/cleanup/sweep/sweep.js';
import { openDiskStore } from '../../packages/server/dist/foundation/blobs/disk.js';
import { openDatabase } from '../../packages/server/dist/foundation/database/connect.js';
import { option, table, verdict } from '../machine.mjs';

const projectId = '00000000-0000-7000-8000-000000000001';
const userId = '00000000-0000-7000-8000-000000000002';
const old = new Date(0);
const oneIn = 1_000;

const idOf = (n) => `00000000-0000-7000-9000-${n.toString(16).padStart(12, '0')}`;
const keyOf = (n) => `${projectId}/files/${idOf(n)}.png`;
const isMissing = (n) => n % oneIn === 2;
const numberOf = (key) => Number.parseInt(key.slice(-16, -4), 16);

export async function benchSweep({ url, folder, log }) {
  const keys = option('keys', 1_000_000);
  const database = openDatabase({
    url,
    poolSize: 4,
    statementTimeoutMs: 600_000,
    lockTimeoutMs: 10_000,
    applicationName: 'bench',
    log,
  });
  const disk = await openDiskStore({ folder: join(folder, 'blobs') });
  try {
    await claimStore({ db: database.db, blobs: disk });
    await database.pool.query(
      "INSERT INTO users (id, email, email_canonical, password_hash) VALUES ($1, 'a', 'a', '-')",
      [userId],
    );
    await database.pool.query(
      "INSERT INTO projects (id, owner_id, name, settings) VALUES ($1, $2, 'a', '{}')",
      [projectId, userId],
    );
    const rows = [['keys', 'seconds', 'keys/s', 'without a row', 'without a blob', 'peak RSS']];
    const peaks = [];
    let present = 0;
    // The last again: what a sweep keeps for each key would come on top of what the heap has taken anyhow.
    for (const count of [keys / 10, keys, keys]) {
      if (count > present) await insertRows(database.pool, present, count);
      present = count;
      const began = performance.now();
      const end = await sweepStore(optionsOf(database.db, disk, count), {
        mode: 'dry-run',
        holder: randomUUID(),
        signal: new AbortController().signal,
      });
      const seconds = (performance.now() - began) / 1000;
      if (end.kind !== 'finished') throw new Error(JSON.stringify(end));
      peaks.push(process.resourceUsage().maxRSS / 1024);
      rows.push([
        count.toLocaleString('en-US'),
        seconds.toFixed(1),
        Math.round(count / seconds).toLocaleString('en-US'),
        end.sweep.orphans,
        end.sweep.missing,
        `${Math.round(peaks.at(-1))} MiB`,
      ]);
    }
    console.log(table(rows));
    const [, first = 0, second = 0] = peaks;
    console.log(verdict('a sweep of all keys in 200 MiB', `${Math.round(first)} MiB`, first < 200));
    console.log(
      verdict('and another adds less than 32 MiB', `${Math.round(second - first)} MiB`, second - first < 32),
    );
  } finally {
    await disk.close();
    await database.close();
  }
}

function optionsOf(db, disk, count) {
  const stat = (n) => ({ key: keyOf(n), size: 1_000, lastModified: old });
  return {
    db,
    blobs: {
      ...disk,
      async *list({ after }) {
        for (let n = after === undefined ? 0 : numberOf(after) + 1; n < count; n++) {
          if (!isMissing(n)) yield stat(n);
        }
      },
      stat: async (key) => (isMissing(numberOf(key)) ? undefined : stat(numberOf(key))),
    },
    graceSeconds: 86_400,
    quarantineSeconds: 86_400,
    maxDeletes: 1_000,
    brakePercent: 10,
    remedies: { onDamage: async () => undefined, renderAgain: async () => false },
  };
}

async function insertRows(pool, from, to) {
  await pool.query(
    `INSERT INTO files (id, project_id, s3_key, filename, mime_type, status, size, sha256)
     SELECT id, $1::uuid, $1::text || '/files/' || id || '.png', 'a', 'image/png', 'ready', 1000, $2
     FROM (
       SELECT ('00000000-0000-7000-9000-' || lpad(to_hex(n), 12, '0'))::uuid AS id
       FROM generate_series($3::bigint, $4::bigint - 1) AS n WHERE n % $5::bigint <> 1
     ) AS ids`,
    [projectId, Buffer.alloc(32), from, to, oneIn],
  );
  await pool.query('ANALYZE files');
}
