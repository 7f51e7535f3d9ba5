import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { photo } from '../acceptance/pictures.ts';
import { until } from '../acceptance/running-server.ts';
import { noise, openScene, program, sha256, sha256OfFile } from './scene.mjs';

const tool = '/usr/bin/curl';
const mebibyte = 1024 * 1024;

describe('curl', () => {
  let scene;
  let picture;
  let large;

  beforeAll(async () => {
    scene = await openScene();
    picture = await file('photo.jpg', await photo(1200, 800));
    large = await file('large.bin', noise(24 * mebibyte));
  });
  afterAll(() => scene?.close());

  /** A file of the suite's own. */
  async function file(name, bytes) {
    const path = join(scene.files, name);
    await writeFile(path, bytes);
    return { path, bytes, sha256: sha256(bytes) };
  }
  const out = (name) => join(scene.files, name);
  const curl = (...args) => program(tool, ['--silent', '--show-error', ...args]);
  const uploadUrl = (query = '') => `${scene.url}/projects/${scene.project}/upload${query}`;
  /** Sends with the key and gives the status and the answer. */
  const send = async (...args) => {
    const text = await curl('-H', `x-api-key: ${scene.key}`, '-w', '\n%{http_code}', ...args);
    const end = text.lastIndexOf('\n');
    return { status: Number(text.slice(end + 1)), body: JSON.parse(text.slice(0, end)) };
  };
  const uploaded = async ({ path }) => {
    const { status, body } = await send('-T', path, uploadUrl('?filename=a'));
    expect(status).toBe(201);
    return body;
  };

  it('sends one file in a form and gets the same bytes back', async () => {
    const { status, body } = await send('-F', `file=@${picture.path}`, uploadUrl());
    expect([status, body.filename, body.mimeType]).toEqual([201, 'photo.jpg', 'image/jpeg']);
    expect([body.sha256, body.size]).toEqual([picture.sha256, picture.bytes.length]);
    await curl('--fail', '-o', out('back.jpg'), body.url);
    expect(await sha256OfFile(out('back.jpg'))).toBe(picture.sha256);
    const { variants } = await scene.settled(body.id);
    await curl('--fail', '-o', out('back.webp'), variants.thumbnail.url);
    expect((await stat(out('back.webp'))).size).toBe(variants.thumbnail.size);
  });

  it('sends several files in one form', async () => {
    const form = ['-F', `file=@${picture.path}`, '-F', `file=@${large.path};filename=naïve name.bin`];
    const { status, body } = await send(...form, uploadUrl());
    expect(status).toBe(201);
    expect(body.data.map(({ filename, sha256: digest }) => [filename, digest])).toEqual([
      ['photo.jpg', picture.sha256],
      ['naïve name.bin', large.sha256],
    ]);
  });

  it('sends the bare bytes with -T, by PUT and by POST, named by query or header', async () => {
    const put = await send('-T', large.path, uploadUrl('?filename=large.bin'));
    expect([put.status, put.body.filename, put.body.sha256]).toEqual([201, 'large.bin', large.sha256]);
    const named = [
      '-H',
      'content-disposition: attachment; filename="post.jpg"',
      '-H',
      'content-type: image/jpeg',
    ];
    const post = await send('--data-binary', `@${picture.path}`, ...named, uploadUrl());
    expect([post.status, post.body.filename, post.body.sha256]).toEqual([201, 'post.jpg', picture.sha256]);
  });

  it('sends a body of unknown length from a pipe', async () => {
    const command = `cat "$1" | exec "$2" --silent --show-error --fail -T - -H "x-api-key: $3" "$4"`;
    const args = ['-c', command, 'sh', large.path, tool, scene.key, uploadUrl('?filename=piped.bin')];
    const body = JSON.parse(await program('/bin/sh', args));
    expect([body.filename, body.sha256]).toEqual(['piped.bin', large.sha256]);
  });

  it('is believed with the right Content-Digest and refused with another', async () => {
    const digest = (bytes) =>
      `content-digest: sha-256=:${createHash('sha256').update(bytes).digest('base64')}:`;
    const right = await send('-T', picture.path, '-H', digest(picture.bytes), uploadUrl('?filename=a'));
    expect([right.status, right.body.sha256]).toEqual([201, picture.sha256]);
    const before = (await scene.me.files(scene.project)).length;
    const wrong = await send('-T', picture.path, '-H', digest('others'), uploadUrl('?filename=a'));
    expect([wrong.status, wrong.body.code]).toEqual([422, 'digest-mismatch']);
    expect(await scene.me.files(scene.project)).toHaveLength(before);
  });

  it('gets a range with -r, from the start, the middle and the end', async () => {
    const { url } = await uploaded(large);
    const size = large.bytes.length;
    for (const [range, start, end] of [
      ['0-99', 0, 100],
      ['1000000-3000000', 1_000_000, 3_000_001],
      ['-500', size - 500, size],
    ]) {
      const status = await curl('-r', range, '-o', out('range'), '-w', '%{http_code}', url);
      expect([range, status]).toEqual([range, '206']);
      expect((await readFile(out('range'))).equals(large.bytes.subarray(start, end)), range).toBe(true);
    }
    expect(await curl('-r', `${size}-`, '-o', out('range'), '-w', '%{http_code}', url)).toBe('416');
  });

  it('resumes with -C - a download that was killed in the middle', async () => {
    const { url } = await uploaded(large);
    const part = out('resumed.bin');
    const child = spawn(tool, ['--silent', '--limit-rate', '4M', '-o', part, url], { stdio: 'ignore' });
    const ended = once(child, 'exit');
    const sizeNow = async () => (await stat(part).catch(() => ({ size: 0 }))).size;
    await until('the first bytes are on disk', 30, async () => (await sizeNow()) > mebibyte);
    child.kill('SIGKILL');
    await ended;
    const kept = await sizeNow();
    expect(kept).toBeLessThan(large.bytes.length);
    const report = await curl('--fail', '-C', '-', '-o', part, '-w', '%{http_code} %{size_download}', url);
    expect(report).toBe(`206 ${large.bytes.length - kept}`);
    expect(await sha256OfFile(part)).toBe(large.sha256);
    // Once more: there is nothing left to get, and curl knows that by the 416's Content-Range.
    await curl('-C', '-', '-o', part, url);
    expect(await sha256OfFile(part)).toBe(large.sha256);
  });

  it('is told 304 for what it has', async () => {
    const { url } = await uploaded(picture);
    const get = (...args) => curl(...args, '-o', out('cached'), '-w', '%{http_code} %{size_download}', url);
    const tag = out('etag');
    expect(await get('--etag-save', tag)).toBe(`200 ${picture.bytes.length}`);
    expect(await get('--etag-compare', tag)).toBe('304 0');
    const etag = (await readFile(tag, 'utf8')).trim();
    expect(await get('-H', `If-None-Match: "other", ${etag}`)).toBe('304 0');
    expect(await get('-H', 'If-None-Match: "other"')).toBe(`200 ${picture.bytes.length}`);
  });
});
