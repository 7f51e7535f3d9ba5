/**
 * A process that migrates the database of the URL with the folder that it is given, and writes one line of JSON:
 * the names it applied, or the error's sentence.
 */
import { migrate } from '../src/foundation/database/migrate.js';
import { createLog } from '../src/foundation/log.js';

const [, , url = '', folder = ''] = process.argv;
const log = await createLog({ level: 'silent', pretty: false });
try {
  const { applied } = await migrate({ url, folder, log });
  console.log(JSON.stringify({ applied }));
} catch (error) {
  console.log(JSON.stringify({ refused: error instanceof Error ? error.message : String(error) }));
}
