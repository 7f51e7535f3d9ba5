/** What is compared with on S3: the same body put by @aws-sdk/lib-storage. A child of run.mjs. */
import { S3Client } from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';
import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';

const chunk = randomBytes(1024 * 1024);

process.on('message', async ({ access, bucket, key, bytes }) => {
  const client = new S3Client({
    ...access,
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
  });
  const began = performance.now();
  const body = Readable.from(
    (function* () {
      for (let left = bytes; left > 0; left -= chunk.length) yield chunk;
    })(),
    { objectMode: false },
  );
  try {
    await new Upload({
      client,
      params: { Bucket: bucket, Key: key, Body: body },
      partSize: 8 * 1024 * 1024,
      queueSize: 2,
    }).done();
    process.send({ seconds: (performance.now() - began) / 1000 });
  } catch (error) {
    process.send({ error: error.stack });
  } finally {
    client.destroy();
  }
});
