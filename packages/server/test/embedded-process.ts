/**
 * A process that uses the embedded database of the folder it is given, with settings of PostgreSQL as JSON: writes one line of JSON when it is there, or
 * one with the error's sentence, and leaves when its standard input ends.
 */
import { startEmbedded } from '../src/foundation/database/embedded.js';
import { createLog } from '../src/foundation/log.js';

const [, , folder = '', settings = '{}'] = process.argv;
const log = await createLog({ level: 'silent', pretty: false });
try {
  const embedded = await startEmbedded({
    folder,
    log,
    settings: JSON.parse(settings) as Record<string, string>,
  });
  console.log(JSON.stringify({ url: embedded.url, adopted: embedded.adopted }));
  process.stdin.resume().once('end', () => {
    void embedded.stop().then(
      () => process.exit(0),
      () => process.exit(1),
    );
  });
} catch (error) {
  console.log(JSON.stringify({ refused: error instanceof Error ? error.message : String(error) }));
}
