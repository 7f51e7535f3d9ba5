import { stat } from 'node:fs/promises';
import { join } from 'node:path';

import pLimit from 'p-limit';

import { runFfmpeg } from './ffmpeg.js';
import { demuxerOf, filmDecoders } from './film-formats.js';
import { ImagingError } from './imaging.js';
import type { Limits } from './watch-limits.js';

export interface PosterOptions {
  /** Absolute path of ffmpeg. */
  readonly ffmpeg: string;
  /** Films that are worked on at the same time; others wait. */
  readonly parallel: number;
  /** Resident memory in bytes at which ffmpeg is killed. */
  readonly memoryLimitBytes: number;
  /** Longest time for one film in milliseconds, without waiting. */
  readonly wallClockMs: number;
  /** Most pixels of a poster. */
  readonly maxPixels: number;
}

export interface PosterRequest {
  /** The film, whole, on the local disk. */
  readonly path: string;
  /** Its type, detected from the bytes; one of those that `isFilm` knows. */
  readonly mimeType: string;
  /** Existing folder that receives the poster; the caller removes it. */
  readonly folder: string;
  readonly signal: AbortSignal;
}

/** Takes one picture out of a film, to stand for it. */
export interface Posters {
  /**
   * @returns the path of a PNG, upright, with square pixels, at most 4096 pixels long.
   * @throws ImagingError `corrupt-image`; `too-many-pixels` above twice those of 8K; `unsupported-codec` for a film without pictures, or in a codec that is not known
   * or not allowed; `decoder-timeout`, `decoder-memory`, `decoder-crashed`, `aborted`.
   */
  readonly take: (request: PosterRequest) => Promise<string>;
}

/** Longest side of a poster: of an 8K film half of it. */
const longestSide = 4096;
/** Most pixels of a film's own pictures, which are decoded at full size before they are scaled: twice those of 8K. */
const largestFrame = 8192 * 8192;
/** Mean luma above which a picture is not black; black is 16 there, white 235. */
const darkest = 20;
/** Pictures of which the most typical one is chosen. */
const choice = 8;

/** How a picture is looked for. */
interface Search {
  /** Of the film's own options, before it is opened. */
  readonly input: readonly string[];
  /** Filters between sizing and encoding. */
  readonly filters: readonly string[];
  /** Part of the wall clock that it may take in processor time, so that something is left for the next. */
  readonly share: number;
}

const lit = [
  'signalstats',
  `metadata=mode=select:key=lavfi.signalstats.YAVG:value=${darkest}:function=greater`,
  `thumbnail=n=${choice}`,
];
/**
 * One after the other until there is a picture. Key frames come every few seconds and are decoded alone, so that the first
 * search goes some way into the film and costs little; short films that begin black have their light between key frames;
 * what is black all over is shown as it begins.
 */
const searches: readonly Search[] = [
  { input: ['-skip_frame', 'nokey', '-t', '120'], filters: lit, share: 0.5 },
  { input: ['-t', '10'], filters: lit, share: 0.25 },
  { input: [], filters: [], share: 1 },
];

/** Takes posters with ffmpeg, each in a process of its own that is killed when it passes a limit. */
export function createPosters(options: PosterOptions): Posters {
  const limit = pLimit(options.parallel);
  return { take: (request) => limit(() => take(options, request)) };
}

async function take(options: PosterOptions, request: PosterRequest): Promise<string> {
  const demuxer = demuxerOf(request.mimeType);
  if (demuxer === undefined) {
    throw new ImagingError('unsupported-codec', `No posters are taken of ${request.mimeType}.`);
  }
  const poster = join(request.folder, 'poster.png');
  const { wallClockMs, memoryLimitBytes } = options;
  const began = performance.now();
  let complaint = '';
  for (const search of searches) {
    const limits = { wallClockMs, spentMs: performance.now() - began, memoryLimitBytes };
    const args = [
      ...programArguments(limits, search),
      ...inputArguments(request.path, demuxer, search),
      ...outputArguments(poster, options.maxPixels, search),
    ];
    const run = await runFfmpeg({ program: options.ffmpeg, args, limits, signal: request.signal });
    if (run.succeeded && (await isThere(poster))) return poster;
    ({ complaint } = run);
  }
  throw failureOf(complaint, request.folder, memoryLimitBytes);
}

/** For the whole program. An orphan of a killed worker ends by its own clock, which counts processor time. */
function programArguments({ memoryLimitBytes, wallClockMs }: Limits, { share }: Search): string[] {
  const seconds = Math.ceil((wallClockMs * share) / 1000);
  return [
    ...['-nostdin', '-hide_banner', '-loglevel', 'error', '-y'],
    ...['-max_alloc', String(memoryLimitBytes), '-timelimit', String(seconds), '-filter_threads', '1'],
  ];
}

function inputArguments(path: string, demuxer: string, { input }: Search): string[] {
  return [
    ...['-protocol_whitelist', 'file,pipe', '-format_whitelist', demuxer, '-f', demuxer],
    // One thread: several would each hold pictures of their own.
    ...['-codec_whitelist', filmDecoders.join(','), '-threads', '1'],
    ...['-max_pixels', String(largestFrame), ...input],
    ...['-i', `file:${path}`],
  ];
}

function outputArguments(path: string, maxPixels: number, { filters }: Search): string[] {
  const side = Math.min(longestSide, Math.floor(Math.sqrt(maxPixels)));
  // Pixels of films need not be square. ffmpeg has turned the picture upright before.
  const scale = (length: string): string => `'max(1,trunc(${length}*min(1,${side}/max(iw*sar,ih))))'`;
  const sized = [`scale=w=${scale('iw*sar')}:h=${scale('ih')}`, 'setsar=1', 'format=yuv420p'];
  return [
    // The first stream of pictures that is no cover of an album.
    ...['-map', '0:V:0', '-an', '-sn', '-dn', '-vf', [...sized, ...filters, 'format=rgb24'].join(',')],
    ...['-frames:v', '1', '-c:v', 'png', '-compression_level', '1', '-threads', '1'],
    ...['-f', 'image2', '-update', '1', `file:${path}`],
  ];
}

async function isThere(path: string): Promise<boolean> {
  try {
    return (await stat(path)).size > 0;
  } catch {
    return false;
  }
}

function failureOf(complaint: string, folder: string, memoryLimitBytes: number): ImagingError {
  if (/matches no streams/.test(complaint)) {
    return new ImagingError('unsupported-codec', 'The film has no pictures.');
  }
  if (/no decoder found|decoder .*not found|while opening decoder/i.test(complaint)) {
    return new ImagingError(
      'unsupported-codec',
      'The pictures of the film are in a codec that is not decoded here.',
    );
  }
  if (/exceeds specified max pixel count/.test(complaint)) {
    const sentence = `The pictures of the film have more than ${largestFrame} pixels.`;
    return new ImagingError('too-many-pixels', sentence, { limit: largestFrame });
  }
  if (/cannot allocate memory|error allocating/i.test(complaint)) {
    const sentence = `The film needs more than ${memoryLimitBytes} bytes of memory at once.`;
    return new ImagingError('decoder-memory', sentence, { limit: memoryLimitBytes });
  }
  const why = lastLine(complaint, folder);
  const sentence =
    why === '' ? 'There is no picture in the film that can be decoded.' : `The film is damaged: ${why}`;
  return new ImagingError('corrupt-image', sentence);
}

/** The end of what ffmpeg wrote, without paths and addresses of this machine. */
function lastLine(complaint: string, folder: string): string {
  const lines = complaint
    .split('\n')
    // Streams of sound have no decoder here, which ffmpeg calls an error.
    .filter((line) => line.trim() !== '' && !/not on whitelist|Last message repeated/.test(line));
  return (lines.at(-1) ?? '')
    .replaceAll(`file:${folder}/`, '')
    .replace(/\[([\w,]+) @ 0x[0-9a-f]+\] /g, '$1: ')
    .replace(/[^\x20-\x7e]/g, '?')
    .slice(0, 200);
}
