/**
 * npm run bench:logins (npm run build before) — what guessing passwords tells, and what it costs others.
 *
 *   --each=400      logins with an unknown e-mail, and with a wrong password, by turns: can their times be told apart?
 *   --logins=100    logins at once while a file is downloaded and one uploaded: what is left of the transfers' rate?
 *   --mib=256       size of that file
 *   TEST_DATABASE_URL   a server to use instead of an embedded one
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { median, option, startOurs, table, verdict } from '../machine.mjs';

const each = option('each', 400);
const logins = option('logins', 100);
const bytes = option('mib', 256) * 1024 * 1024;
const rounds = option('rounds', 3);
const email = 'bench@example.com';

const folder = mkdtempSync(join(tmpdir(), 'mbk-bench-'));
const unlimited = Object.fromEntries(
  ['LOGIN', 'AUTH', 'API', 'PROJECT'].map((name) => [`MBK_${name}_RATE`, 'none']),
);
const ours = await startOurs(folder, { ...unlimited, MBK_ACCESS_LOG: 'false' });
try {
  await timing();
  await registrations();
  await transfers();
} finally {
  await ours.stop();
  rmSync(folder, { recursive: true, force: true });
}

async function post(path, body) {
  const answer = await fetch(ours.url + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  await answer.arrayBuffer();
  return answer.status;
}

async function timeOf(body) {
  const began = performance.now();
  const status = await post('/auth/login', body);
  const took = performance.now() - began;
  if (status !== 401) throw new Error(`a login that must fail answered ${status}`);
  return took;
}

/** One after the other, by turns, in an order that nothing periodic can match. */
async function timing() {
  const kinds = { unknown: [], wrong: [] };
  const order = Array.from({ length: 2 * each }, (_, n) => (n % 2 === 0 ? 'unknown' : 'wrong'));
  for (let n = order.length - 1; n > 0; n -= 1) {
    const other = Math.floor(Math.random() * (n + 1));
    [order[n], order[other]] = [order[other], order[n]];
  }
  for (const [n, kind] of order.entries()) {
    const who = kind === 'unknown' ? `nobody-${n}@example.com` : email;
    kinds[kind].push(await timeOf({ email: who, password: `wrong-horse-${n}` }));
  }
  const auc = areaUnderCurve(kinds.unknown, kinds.wrong);
  console.log(
    table([
      ['failed login', 'times', 'median'],
      ...Object.entries(kinds).map(([kind, times]) => [kind, times.length, `${median(times).toFixed(1)} ms`]),
    ]),
  );
  console.log(verdict('AUC between 0.40 and 0.60', auc.toFixed(3), auc >= 0.4 && auc <= 0.6));
}

/** How likely one of the first is longer than one of the second: 0.5 when nobody can tell them apart (Mann–Whitney). */
function areaUnderCurve(first, second) {
  let wins = 0;
  for (const a of first) for (const b of second) wins += a > b ? 1 : a === b ? 0.5 : 0;
  return wins / (first.length * second.length);
}

async function registrations() {
  const body = { email: 'once@example.com', password: 'staple-battery-horse-7' };
  const answers = await Promise.all(Array.from({ length: 50 }, () => post('/auth/register', body)));
  const made = answers.filter((status) => status === 201).length;
  const refused = answers.filter((status) => status === 409).length;
  console.log(
    verdict(
      '50 registrations of one address at once: one account',
      `${made} made, ${refused} refused`,
      made === 1 && refused === 49,
    ),
  );
}

async function transfers() {
  const content = Buffer.alloc(bytes, 'some bytes of a file ');
  const upload = async (name) => {
    const answer = await fetch(`${ours.url}/projects/${ours.projectId}/upload?filename=${name}`, {
      method: 'POST',
      headers: { 'x-api-key': ours.key, 'content-type': 'application/octet-stream' },
      body: content,
    });
    if (answer.status !== 201) throw new Error(`an upload answered ${answer.status}`);
    return answer.json();
  };
  const { id } = await upload('warm.bin');
  const download = async () => {
    const answer = await fetch(`${ours.url}/files/${id}/content`, { headers: ours.person });
    let size = 0;
    for await (const chunk of answer.body) size += chunk.length;
    if (size !== bytes) throw new Error(`a download had ${size} bytes`);
  };
  const rows = [['transfer', 'idle', `beside ${logins} logins at once`, 'left']];
  for (const [name, transfer] of [
    ['download', download],
    ['upload', () => upload('more.bin')],
  ]) {
    const rates = { idle: [], busy: [] };
    for (let round = 0; round < rounds; round += 1) {
      rates.idle.push(await rateOf(transfer));
      let over = false;
      // Always so many under way, for as long as the transfer lasts.
      const crowd = Array.from({ length: logins }, async () => {
        while (!over) await post('/auth/login', { email, password: 'wrong-horse' });
      });
      await new Promise((resolve) => setTimeout(resolve, 500));
      rates.busy.push(await rateOf(transfer));
      over = true;
      await Promise.all(crowd);
    }
    const left = median(rates.busy) / median(rates.idle);
    rows.push([
      name,
      ...[rates.idle, rates.busy].map((list) => `${Math.round(median(list))} MiB/s`),
      left.toFixed(2),
    ]);
    console.log(verdict(`${name} keeps more than half of its rate`, left.toFixed(2), left > 0.5));
  }
  console.log(table(rows));
}

async function rateOf(transfer) {
  const began = performance.now();
  await transfer();
  return bytes / 1024 / 1024 / ((performance.now() - began) / 1000);
}
