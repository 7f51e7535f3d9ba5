/**
 * A process that uses the embedded database of the folder it is given: writes one line of JSON when it is there, or
 * one with the error's sentence, and leaves when its standard input ends.
 */
import { startEmbedded } from '../src/foundation/database/embedded.js';
import { createLog } from '../src/foundation/log.js';

const [, , folder = ''] = process.argv;
const log = await createLog({ level: 'silent', pretty: false });
try {
  const embedded = await startEmbedded({ folder, log });
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
