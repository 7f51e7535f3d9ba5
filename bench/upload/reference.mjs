/** What is compared with: `node:http` that pipes a body into a file and computes its SHA-256. Prints its address. */
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';

const folder = process.argv[2];
let count = 0;
const server = createServer({ requestTimeout: 0 }, async (request, response) => {
  const path = join(folder, `reference-${count++}`);
  const hash = createHash('sha256');
  await pipeline(
    request,
    async function* (source) {
      for await (const chunk of source) {
        hash.update(chunk);
        yield chunk;
      }
    },
    createWriteStream(path, { flush: true }),
  );
  response.end(hash.digest('hex'));
  await rm(path);
});
server.listen(0, '127.0.0.1', () => console.log(`listening ${server.address().port}`));
