/**
 * Sends bodies, so that their making is not counted as the server's work: a child of run.mjs, told what to send over
 * the channel. The body is one random MiB again and again.
 */
import { randomBytes } from 'node:crypto';
import { Agent, request } from 'node:http';

const mebibyte = 1024 * 1024;
const chunk = randomBytes(mebibyte);
const agent = new Agent({ keepAlive: true, maxSockets: 8 });

process.on('message', async (job) => {
  try {
    const began = performance.now();
    await ways[job.way](job);
    process.send({ seconds: (performance.now() - began) / 1000 });
  } catch (error) {
    process.send({ error: error.stack });
  }
});

const ways = {
  /** Any URL that takes the bytes as they are. */
  put: ({ url, bytes, headers, method = 'PUT' }) => send(method, url, headers, bytes),
  raw: ({ url, bytes, headers }) => send('POST', `${url}?filename=bench.bin`, headers, bytes),
  async multipart({ url, bytes, headers }) {
    const boundary = 'bench-boundary-7MA4YWxkTrZu0gW';
    const before = Buffer.from(
      `--${boundary}\r\nContent-Disposition: form-data; name="file"; filename="bench.bin"\r\n\r\n`,
    );
    const after = Buffer.from(`\r\n--${boundary}--\r\n`);
    const type = { 'content-type': `multipart/form-data; boundary=${boundary}` };
    await send('POST', url, { ...headers, ...type }, bytes, before, after);
  },
  async tus({ url, bytes, headers }) {
    const tus = { 'tus-resumable': '1.0.0', ...headers };
    const created = await send('POST', url, { ...tus, 'upload-length': String(bytes) }, 0);
    const location = new URL(created.headers.location);
    const target = new URL(location.pathname, url).href;
    const patch = { ...tus, 'content-type': 'application/offset+octet-stream', 'upload-offset': '0' };
    await send('PATCH', target, patch, bytes);
  },
  async direct({ url, bytes, headers }) {
    const json = { ...headers, 'content-type': 'application/json' };
    const call = async (path, body) =>
      JSON.parse((await send('POST', url + path, json, Buffer.from(JSON.stringify(body)))).body);
    const upload = await call('', { filename: 'bench.bin', size: bytes, via: 'multipart' });
    const { partBytes, partCount } = upload.multipart;
    const numbers = Array.from({ length: partCount }, (_, index) => index + 1);
    const own = (signed) =>
      signed.includes('/staging/')
        ? new URL(new URL(signed).pathname + new URL(signed).search, url).href
        : signed;
    const worker = async () => {
      for (let batch = numbers.splice(0, 8); batch.length > 0; batch = numbers.splice(0, 8)) {
        const { data } = await call(`/${upload.id}/parts`, { numbers: batch });
        for (const part of data) {
          const size = Math.min(partBytes, bytes - (part.number - 1) * partBytes);
          await send('PUT', own(part.url), part.headers, size);
        }
      }
    };
    await Promise.all([worker(), worker()]);
    let { status } = await call(`/${upload.id}/complete`, {});
    while (status !== 'completed') {
      await new Promise((resolve) => setTimeout(resolve, 20));
      ({ status } = JSON.parse((await send('GET', `${url}/${upload.id}`, headers, 0)).body));
      if (status === 'failed') throw new Error('the upload failed');
    }
  },
};

/** @param content number of bytes to make, or the body itself. */
function send(method, url, headers, content, before = Buffer.alloc(0), after = Buffer.alloc(0)) {
  const bytes = typeof content === 'number' ? content : content.length;
  return new Promise((resolve, reject) => {
    const target = request(url, {
      method,
      agent,
      headers: {
        ...headers,
        ...(method === 'GET' ? {} : { 'content-length': before.length + bytes + after.length }),
      },
    });
    target.on('error', reject);
    target.on('response', (answer) => {
      const chunks = [];
      answer.on('data', (part) => chunks.push(part));
      answer.on('end', () => {
        const body = Buffer.concat(chunks).toString();
        if (answer.statusCode >= 200 && answer.statusCode < 300) resolve({ headers: answer.headers, body });
        else reject(new Error(`${method} ${url} answered ${answer.statusCode}: ${body.slice(0, 500)}`));
      });
    });
    if (typeof content !== 'number') {
      target.end(content);
      return;
    }
    if (before.length > 0) target.write(before);
    let left = bytes;
    const go = () => {
      while (left > 0) {
        const size = Math.min(left, mebibyte);
        left -= size;
        if (!target.write(size === mebibyte ? chunk : chunk.subarray(0, size))) {
          target.once('drain', go);
          return;
        }
      }
      target.end(after);
    };
    go();
  });
}
