import exifr from 'exifr';

import type { ExifFacts } from './imaging.js';

/** Tags that are read; everything else, positions first of all, is not even parsed. */
const wanted = [
  'Make',
  'Model',
  'LensModel',
  'ExposureTime',
  'FNumber',
  'ISO',
  'FocalLength',
  'DateTimeOriginal',
  'OffsetTimeOriginal',
];

/**
 * The harmless part of a picture's EXIF. `block` is what sharp's metadata calls `exif`: the TIFF structure, with or
 * without its `Exif\0\0`. Null when there is nothing to tell or the block cannot be read; EXIF is often broken, and
 * a photo is none the worse for it.
 */
export async function readExif(block: Buffer | undefined): Promise<ExifFacts | null> {
  if (!block) return null;
  const tiff = block.toString('latin1', 0, 6) === 'Exif\0\0' ? block.subarray(6) : block;
  let tags: Record<string, unknown> | undefined;
  try {
    const parsed: unknown = await exifr.parse(tiff, {
      tiff: true,
      ifd1: false,
      gps: false,
      interop: false,
      xmp: false,
      icc: false,
      iptc: false,
      pick: wanted,
      reviveValues: false,
      translateValues: false,
    });
    tags = typeof parsed === 'object' && parsed !== null ? { ...parsed } : undefined;
  } catch {
    // See above: unreadable EXIF is no EXIF.
    return null;
  }
  if (!tags) return null;

  const facts: ExifFacts = Object.fromEntries(
    Object.entries({
      cameraMake: text(tags['Make']),
      cameraModel: text(tags['Model']),
      lens: text(tags['LensModel']),
      exposureSeconds: positive(tags['ExposureTime']),
      fNumber: positive(tags['FNumber']),
      iso: positive(tags['ISO']),
      focalLengthMm: positive(tags['FocalLength']),
      takenAt: moment(tags['DateTimeOriginal'], tags['OffsetTimeOriginal']),
    }).filter(([, value]) => value !== undefined),
  );
  return Object.keys(facts).length > 0 ? facts : null;
}

function text(value: unknown): string | undefined {
  if (typeof value !== 'string') return undefined;
  // Cameras pad with NUL; PostgreSQL's jsonb refuses NUL and lone surrogates.
  const clean = value.replace(/[\p{Cc}\p{Cs}]+/gu, ' ').trim();
  return clean === '' ? undefined : [...clean].slice(0, 100).join('');
}

function positive(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) && value > 0
    ? Number(value.toPrecision(6))
    : undefined;
}

/** `2024:05:17 09:30:15` and `+02:00` → RFC 3339, without an offset when the camera wrote none. */
function moment(local: unknown, offset: unknown): string | undefined {
  if (typeof local !== 'string') return undefined;
  const found = /^(\d{4}):(\d\d):(\d\d) (\d\d):(\d\d):(\d\d)/.exec(local);
  if (!found) return undefined;
  const [, year, month, day, hour, minute, second] = found;
  const iso = `${year}-${month}-${day}T${hour}:${minute}:${second}`;
  // Cameras without a set clock write zeros.
  if (Number.isNaN(Date.parse(`${iso}Z`))) return undefined;
  const zone = typeof offset === 'string' && /^[+-]\d\d:\d\d/.test(offset) ? offset.slice(0, 6) : '';
  return iso + zone;
}

/** The same facts as sharp writes them into a result: EXIF's own names and texts. */
export function exifOf(facts: ExifFacts | null): Record<'IFD0' | 'IFD2', Record<string, string>> {
  const { cameraMake, cameraModel, lens, exposureSeconds, fNumber, iso, focalLengthMm, takenAt } =
    facts ?? {};
  const [, day, time, zone] = /^([\d-]+)T([\d:]+)(.*)$/.exec(takenAt ?? '') ?? [];
  return {
    IFD0: given({ Make: cameraMake, Model: cameraModel }),
    IFD2: given({
      LensModel: lens,
      ExposureTime: exposureSeconds === undefined ? undefined : rational(exposureSeconds),
      FNumber: fNumber === undefined ? undefined : rational(fNumber),
      ISOSpeedRatings: iso === undefined ? undefined : String(Math.min(65_535, Math.round(iso))),
      FocalLength: focalLengthMm === undefined ? undefined : rational(focalLengthMm),
      DateTimeOriginal: day && time ? `${day.replaceAll('-', ':')} ${time}` : undefined,
      OffsetTimeOriginal: zone === '' ? undefined : zone,
    }),
  };
}

function given(tags: Record<string, string | undefined>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(tags).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  );
}

/** EXIF's fraction: exposures below a second as photographers write them (1/250). */
function rational(value: number): string {
  return value < 1 ? `1/${Math.round(1 / value)}` : `${Math.round(value * 1000)}/1000`;
}
