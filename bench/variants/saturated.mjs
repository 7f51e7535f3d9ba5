import { Agent, request } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';

import { uploadTo } from '../machine.mjs';

/** Requests a second, sent at their times whether or not earlier ones have been answered. */
const perSecond = 50;
/** Idle, saturated, idle, saturated: the machine may change meanwhile. */
const rounds = 2;
/** Pictures uploaded before the reads begin, for each second of them: more than two cores render. */
const backlogPerSecond = 25;
const parallelUploads = 4;

/**
 * Milliseconds of `GET /files/:id`, while the server is idle, and while its decoders have more than they can do.
 * @returns also how many files were still unfinished when the reads ended (100 stands for more).
 */
export async function readsBesideRenders({ server, files }, seconds) {
  const { id } = await uploadTo(server, 'photo', files[0].bytes);
  const result = { idle: [], saturated: [], waiting: Infinity };
  for (let round = 0; round < rounds; round++) {
    while ((await unfinished(server)) > 0) await pause(100);
    result.idle.push(...(await read(server, id, seconds)));
    await uploadBacklog(server, files, backlogPerSecond * seconds);
    result.saturated.push(...(await read(server, id, seconds)));
    result.waiting = Math.min(result.waiting, await unfinished(server));
  }
  return result;
}

async function uploadBacklog(server, files, count) {
  let next = 0;
  const sender = async () => {
    while (next < count) await uploadTo(server, 'photo', files[next++ % files.length].bytes);
  };
  await Promise.all(Array.from({ length: parallelUploads }, sender));
}

async function unfinished(server) {
  const path = `/projects/${server.projectId}/files?status=processing&limit=100`;
  const { data } = await server.call(path, undefined, { 'x-api-key': server.key });
  return data.length;
}

/** The time of each request counts from when it was to be sent. */
async function read(server, id, seconds) {
  const agent = new Agent({ keepAlive: true });
  const target = new URL(`/files/${id}`, server.url);
  const began = performance.now();
  const answers = [];
  for (let n = 0; n < perSecond * seconds; n++) {
    const due = began + (n * 1000) / perSecond;
    await pause(Math.max(0, due - performance.now()));
    answers.push(get(target, agent, server.key).then(() => performance.now() - due));
  }
  const times = await Promise.all(answers);
  agent.destroy();
  return times;
}

function get(target, agent, key) {
  return new Promise((done, failed) => {
    request(target, { agent, headers: { 'x-api-key': key } }, (answer) => {
      if (answer.statusCode !== 200) failed(new Error(`${target} answered ${answer.statusCode}`));
      answer.resume().on('end', done).on('error', failed);
    })
      .on('error', failed)
      .end();
  });
}
