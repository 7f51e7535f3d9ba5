import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { photo } from '../acceptance/pictures.ts';
import { noise, openScene, program, s3, s3Settings, sha256OfFile, sha256OfUrl } from './scene.mjs';

const mebibyte = 1024 * 1024;

/** The bucket of a running server, seen by the tools that its operator has at hand. */
describe.skipIf(!s3)('the bucket, by other tools (radosgw: needs TEST_S3_RGW)', () => {
  let scene;
  let bucket;
  /** Key, size and SHA-256 of every blob, as the API tells it. */
  let blobs;

  beforeAll(async () => {
    const settings = s3Settings();
    bucket = settings.MBK_S3_BUCKET;
    scene = await openScene(settings);
    const sent = await Promise.all([
      scene.me.upload(scene.project, 'photo.jpg', await photo(1200, 800), 'image/jpeg'),
      // Above the size from which the store gets a blob in parts.
      scene.me.upload(scene.project, 'film.bin', noise(24 * mebibyte)),
    ]);
    blobs = (await Promise.all(sent.map(({ body }) => blobsOf(body.id)))).flat();
    blobs.sort((a, b) => (a.key < b.key ? -1 : 1));
  });
  afterAll(() => scene?.close());

  /** docs/storage-layout.md: `{projectId}/files/{fileId}.{ext}`, `{projectId}/{variant}/{fileId}.{ext}`. */
  async function blobsOf(id) {
    const extensions = { 'image/jpeg': 'jpg', 'image/webp': 'webp', 'application/octet-stream': 'bin' };
    const file = await scene.settled(id);
    expect(file.status).toBe('ready');
    return Promise.all(
      Object.entries({ files: file, ...file.variants }).map(async ([place, { mimeType, size, url }]) => ({
        key: `${scene.project}/${place}/${id}.${extensions[mimeType]}`,
        mimeType,
        size,
        sha256: await sha256OfUrl(url),
      })),
    );
  }
  const listed = () => blobs.map(({ key, size }) => `${size} ${key}`);
  /** Size and key of the project's blobs from lines of `date time size key`. */
  const sizesAndKeys = (text) =>
    text
      .trim()
      .split('\n')
      .map((line) => line.trim().split(/\s+/).slice(2))
      .map(([size, key]) => `${size} ${key.replace(`s3://${bucket}/`, '')}`)
      .sort((a, b) => (a.split(' ')[1] < b.split(' ')[1] ? -1 : 1));
  const isSame = async (fetchTo) => {
    for (const { key, sha256 } of blobs) {
      const path = join(scene.files, 'fetched');
      await fetchTo(key, path);
      expect([key, await sha256OfFile(path)]).toEqual([key, sha256]);
    }
  };

  it('the API knows an original and its variants, and a file without', () => {
    expect(blobs.map(({ key }) => key.split('/')[1]).sort()).toEqual(
      ['files', 'files', 'large', 'medium', 'thumbnail'].sort(),
    );
  });

  describe('aws', () => {
    const aws = (...args) =>
      // By its path: another one may come first in PATH.
      program('/usr/bin/aws', ['--endpoint-url', s3.endpoint, '--region', 'us-east-1', ...args], {
        env: {
          PATH: process.env.PATH,
          HOME: scene.files,
          AWS_ACCESS_KEY_ID: s3.key,
          AWS_SECRET_ACCESS_KEY: s3.secret,
        },
      });

    it('lists the blobs under their keys', async () => {
      expect(sizesAndKeys(await aws('s3', 'ls', '--recursive', `s3://${bucket}/${scene.project}/`))).toEqual(
        listed(),
      );
    });

    it('fetches the same bytes', async () => {
      await isSame((key, path) => aws('s3', 'cp', '--only-show-errors', `s3://${bucket}/${key}`, path));
    });

    it('sees their types', async () => {
      for (const { key, mimeType } of blobs) {
        const head = JSON.parse(await aws('s3api', 'head-object', '--bucket', bucket, '--key', key));
        expect([key, head.ContentType]).toEqual([key, mimeType]);
      }
    });
  });

  describe('s3cmd', () => {
    const s3cmd = async (...args) => {
      const settings = join(scene.files, 's3cfg');
      await writeFile(
        settings,
        [
          '[default]',
          `access_key = ${s3.key}`,
          `secret_key = ${s3.secret}`,
          `host_base = ${s3.host}`,
          `host_bucket = ${s3.host}`,
          'use_https = False',
          '',
        ].join('\n'),
      );
      return program('/usr/bin/s3cmd', ['--config', settings, '--no-progress', ...args]);
    };

    it('lists the blobs under their keys', async () => {
      expect(sizesAndKeys(await s3cmd('ls', '--recursive', `s3://${bucket}/${scene.project}/`))).toEqual(
        listed(),
      );
    });

    it('fetches the same bytes', async () => {
      await isSame((key, path) => s3cmd('get', '--force', `s3://${bucket}/${key}`, path));
    });
  });
});
