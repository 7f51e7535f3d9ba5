/**
 * `GET /projects/:id/files` of a built server as a project grows from 10,000 to a million files with three variants each:
 * pages, filters and searches, as a client sees them, one after the other. The sizes grow in one database, so that each is
 * measured as it would be there. What must hold: p99 of 20 ms, and twice that of 10,000 files at most.
 */
import { openDatabase } from '../../packages/server/dist/foundation/database/connect.js';
import { option, quantile, startOurs, table, verdict } from '../machine.mjs';
import { cursorBeforeLast, hitsOf, insertFiles } from './rows.mjs';

const limit = 25;
const mostMs = 20;

const queries = [
  ['first page', () => ''],
  ['last page', ({ last }) => `&cursor=${last}`],
  ['status=failed', () => '&status=failed'],
  ['type=image/png', () => '&type=image/png'],
  ['type=image/*', () => '&type=image/*'],
  ['type=application/pdf', () => '&type=application/pdf'],
  ['type=video/* (none)', () => '&type=video/*'],
  ['trash (empty)', () => '&trash=true'],
  ['name, 0 hits', () => '&name=nowhere', 'nowhere'],
  ['name, 10 hits', () => '&name=rare', 'rare'],
  ['name, half of all', () => '&name=holiday', 'holiday'],
  ['name, 0.5 %, all old', () => '&name=bygone', 'bygone'],
  ['name and type', () => '&name=holiday&type=image/png'],
];

export async function benchLists({ url, folder, log }) {
  const most = option('rows', 1_000_000);
  const rounds = option('rounds', 200);
  const sizes = [most / 100, most / 10, most];
  const database = openDatabase({
    url,
    poolSize: 2,
    statementTimeoutMs: 1_200_000,
    lockTimeoutMs: 10_000,
    applicationName: 'bench',
    log,
  });
  const server = await startOurs(
    folder,
    { DATABASE_URL: url, MBK_JWT_SECRET: secret(), MBK_LINK_SECRET: secret(), MBK_ACCESS_LOG: 'false' },
    {},
    'api',
  );
  try {
    const { projectId, key } = server;
    const measured = new Map(queries.map(([name]) => [name, []]));
    let present = 0;
    for (const size of sizes) {
      await insertFiles(database.pool, { projectId, from: present, to: size, total: most });
      present = size;
      const places = { last: await cursorBeforeLast(database.pool, projectId, limit) };
      const times = new Map(queries.map(([name]) => [name, []]));
      // By turns, so that what the machine does beside falls on all of them.
      for (let round = -30; round < rounds; round += 1) {
        for (const [name, query] of queries) {
          const took = await timeOf(
            `${server.url}/projects/${projectId}/files?limit=${limit}${query(places)}`,
            key,
          );
          if (round >= 0) times.get(name).push(took);
        }
      }
      for (const [name] of queries) measured.get(name).push(times.get(name));
    }
    const heads = sizes.map((size) => size.toLocaleString('en-US'));
    const rows = [
      ['GET …/files?limit=25', 'hits', ...heads.flatMap((head) => [`${head}: p50`, 'p99']), 'p99 ÷'],
    ];
    let slowest = 0;
    let widest = 0;
    for (const [name, , text] of queries) {
      const lists = measured.get(name);
      const p99 = lists.map((list) => quantile(list, 0.99));
      const ratio = p99.at(-1) / p99[0];
      slowest = Math.max(slowest, p99.at(-1));
      widest = Math.max(widest, ratio);
      rows.push([
        name,
        text === undefined ? '' : (await hitsOf(database.pool, projectId, text)).toLocaleString('en-US'),
        ...lists.flatMap((list, n) => [`${quantile(list, 0.5).toFixed(1)} ms`, `${p99[n].toFixed(1)} ms`]),
        ratio.toFixed(2),
      ]);
    }
    console.log(table(rows));
    console.log(
      verdict(
        `p99 of each among ${heads.at(-1)} files: ${mostMs} ms`,
        `${slowest.toFixed(1)} ms`,
        slowest <= mostMs,
      ),
    );
    console.log(verdict(`and at most twice that among ${heads[0]}`, widest.toFixed(2), widest <= 2));
  } finally {
    await server.stop();
    await database.close();
  }
}

const secret = () => Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString('base64');

async function timeOf(address, key) {
  const began = performance.now();
  const answer = await fetch(address, { headers: { 'x-api-key': key } });
  const body = await answer.text();
  const took = performance.now() - began;
  if (!answer.ok) throw new Error(`${address} answered ${answer.status}: ${body}`);
  return took;
}
