// Runs the long S3 suites (packages/server/test/long/s3-*.long.ts) on real servers: installs them, starts them, runs
// the suites, stops them.
//   node scripts/s3/test.mjs [rgw] [swift]      both when none is named
// TEST_S3_RGW or TEST_S3_SWIFT (see packages/server/test/long/s3-contract.long.ts) names a server that runs
// already; the others are started here in a temporary folder, which is removed at the end. TEST_S3_RGW_FOLDER is the
// folder of a gateway that the fault suite may kill; TEST_BOUNDED=1 shortens its loops.
import { fileURLToPath } from 'node:url';

import { run, serverNames, withServers } from './servers.mjs';

const named = process.argv.slice(2);
for (const name of named) {
  if (!serverNames.includes(name)) throw new Error(`unknown server ${name} (${serverNames.join(', ')})`);
}
// An interrupt reaches the children too; the run below then ends, and the servers are stopped.
process.on('SIGINT', () => undefined);
process.on('SIGTERM', () => undefined);
const suites = fileURLToPath(new URL('../test.mjs', import.meta.url));
process.exitCode = await withServers(named.length > 0 ? named : serverNames, (environment) =>
  run(process.execPath, [suites, '--long', 'test/long/s3-'], environment),
);
