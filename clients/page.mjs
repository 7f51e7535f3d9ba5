/** What runs in the browser: Uppy as docs/uploads.md sets it up. The suite calls the functions of `clients`. */
/* global addEventListener, document */
import { open as openS3 } from 'snippet:@uppy/aws-s3';
import { open as openTus } from 'snippet:@uppy/tus';

const openers = { tus: openTus, s3: openS3 };

/**
 * Sends what was chosen in the page's file input.
 * @returns {Promise<string>} the id of the file, as the snippet logs it
 */
async function upload(way, { url, project, key, meta = {}, tellSize = false, parts = false }) {
  const [chosen] = document.querySelector('input').files;
  const logged = Promise.withResolvers();
  // What fails in the snippet's own handlers reaches nobody else.
  addEventListener('unhandledrejection', ({ reason }) => logged.reject(reason), { once: true });
  const uppy = openers[way]({
    url,
    project,
    key,
    fetch: tellSize ? fetchWithSize(chosen.size) : fetch,
    console: { log: (_word, id) => logged.resolve(id) },
  });
  const pauses = parts ? sendInParts(uppy) : undefined;
  uppy.addFile({ name: chosen.name, type: chosen.type, data: chosen, meta });
  const { failed } = await uppy.upload();
  if (failed.length > 0) throw new Error(`Uppy could not upload ${chosen.name}: ${failed[0].error}`);
  if (pauses?.count === 0) throw new Error('Uppy has sent no part');
  return logged.promise;
}

/** Uppy does not hand the size to signRequest; a page that knows it may tell it, and gets one PUT of that size. */
function fetchWithSize(size) {
  return (path, options) => {
    if (!path.endsWith('/sign')) return fetch(path, options);
    return fetch(path, { ...options, body: JSON.stringify({ ...JSON.parse(options.body), size }) });
  };
}

/** Small files in parts too, and a pause after the first part: Uppy then asks the store which parts it has. */
function sendInParts(uppy) {
  const pauses = { count: 0 };
  uppy.getPlugin('AwsS3').setOptions({ shouldUseMultipart: true });
  uppy.on('s3-multipart:part-uploaded', () => {
    pauses.count += 1;
    if (pauses.count > 1) return;
    uppy.pauseAll();
    setTimeout(() => uppy.resumeAll());
  });
  return pauses;
}

/** SHA-256 of what an address answers to a page of this origin, redirects followed. */
async function digest(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url} answered ${answer.status}`);
  const hash = await crypto.subtle.digest('SHA-256', await answer.arrayBuffer());
  return [...new Uint8Array(hash)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** Shows pictures and gives their sizes once they are decoded. */
async function show(urls) {
  const pictures = urls.map((url) => {
    const picture = document.createElement('img');
    picture.src = url;
    return picture;
  });
  document.querySelector('main').replaceChildren(...pictures);
  await Promise.all(pictures.map((picture) => picture.decode()));
  return pictures.map(({ naturalWidth, naturalHeight }) => [naturalWidth, naturalHeight]);
}

globalThis.clients = { upload, digest, show };
