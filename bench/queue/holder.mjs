/** A process that takes one job, says so and never ends it. Arguments: database URL, lease in seconds. */
import { createLog } from '../../packages/server/src/foundation/log.ts';
import { handle } from '../../packages/server/src/foundation/queue/define.ts';
import { createRunner } from '../../packages/server/src/foundation/queue/runner.ts';
import { noop, open } from './ours.mjs';

const [, , url, leaseSeconds] = process.argv;
const log = await createLog({ level: 'warn', pretty: false });
const { db } = open(url, log);
createRunner({
  db,
  handlers: [
    handle(noop, () => {
      process.stdout.write('holding\n');
      return new Promise(() => undefined);
    }),
  ],
  concurrency: 1,
  leaseSeconds: Number(leaseSeconds),
  name: 'holder',
  log,
  listenUrl: url,
}).start();
