/** What is compared with: `node:http` that sends files from memory (hot), or reads them for each request (cold). */
import { open, readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';

const folder = process.argv[2];
const memory = new Map();
const tag = '"reference"';

const server = createServer(async (request, response) => {
  const { pathname, search } = new URL(request.url, 'http://localhost');
  const path = join(folder, pathname);
  if (request.headers['if-none-match'] === tag) {
    response.writeHead(304, { etag: tag }).end();
    return;
  }
  if (pathname === '/redirect') {
    response.writeHead(302, { location: '/small', 'content-length': 0 }).end();
    return;
  }
  let bytes = memory.get(path);
  if (bytes === undefined) {
    if (search === '?cold') {
      const file = await open(path);
      bytes = Buffer.allocUnsafe((await file.stat()).size);
      await file.read(bytes, 0, bytes.length, 0);
      await file.close();
    } else {
      bytes = await readFile(path);
      memory.set(path, bytes);
    }
  }
  response.writeHead(200, { 'content-type': 'image/jpeg', 'content-length': bytes.length, etag: tag });
  response.end(bytes);
});
server.listen(0, '127.0.0.1', () => console.log(`listening ${server.address().port}`));
