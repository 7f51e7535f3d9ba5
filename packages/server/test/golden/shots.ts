import sharp, { type Sharp } from 'sharp';

import type { Point } from '../../src/foundation/imaging/geometry.js';
import type { Recipe } from '../../src/foundation/imaging/recipe.js';
import { animation, encode, encodeTurned, screenshot } from '../fixtures/pictures.js';
import type { RawPicture } from '../fixtures/pixels.js';
import { framedScenePixels, scenePixels, windowPixels } from './scene.js';

/** A picture and what is made of it, by name, in one render: as in production all come from one decode. */
export interface Shot {
  readonly picture: () => Promise<Buffer>;
  readonly focalPoint?: Point;
  readonly recipes: Readonly<Record<string, Recipe>>;
}

/** The id under which recipes name the watermark; `watermark()` is its picture. */
export const markId = '0190a5f0-0000-7000-8000-000000000001';

/** Something small with a shape, a colour and half of it transparent. */
export async function watermark(): Promise<Buffer> {
  return encode(windowPixels(120, 90), 'png');
}

const scene = scenePixels(480, 360);
const tall = scenePixels(300, 450);
const inside = { width: 96, height: 96, fit: 'inside' } as const;
const small = { ...inside, format: 'png' } as const;
const wide = { width: 96, height: 36, fit: 'cover', format: 'png' } as const;
const narrow = { width: 40, height: 72, fit: 'cover', format: 'png' } as const;
const square = { width: 80, height: 80, fit: 'contain', format: 'png' } as const;

const open = ({ data, width, height, channels }: RawPicture): Sharp =>
  sharp(data, { raw: { width, height, channels } });

/** Each orientation, of a picture that is turned and cut. */
const turnedShots = Object.fromEntries(
  [1, 2, 3, 4, 5, 6, 7, 8].map((orientation): [string, Shot] => [
    `exif-${orientation}`,
    {
      picture: () => encodeTurned(scene, orientation, 'jpeg'),
      recipes: { cover: { width: 72, height: 60, fit: 'cover', format: 'png' } },
    },
  ]),
);

/** What goldens are taken of. Sides are at most 96 pixels, and 200 where it matters. */
export const shots: Readonly<Record<string, Shot>> = {
  fit: {
    picture: () => encode(scene, 'jpeg'),
    recipes: {
      inside: small,
      outside: { width: 60, height: 60, fit: 'outside', format: 'png' },
      cover: { width: 80, height: 40, fit: 'cover', format: 'png' },
      contain: square,
      'contain-background': { ...square, background: '#204080', position: 'bottom' },
      'contain-half': { ...square, background: '#ff000080', position: 'top', format: 'webp', lossless: true },
      fill: { width: 60, height: 90, fit: 'fill', format: 'png' },
      'width-only': { width: 70, fit: 'cover', format: 'png' },
      'height-only': { height: 50, fit: 'contain', format: 'png' },
      'dpr-2': { width: 40, height: 40, fit: 'cover', dpr: 2, format: 'png' },
      'dpr-half': { width: 160, height: 120, fit: 'inside', dpr: 0.5, format: 'png' },
    },
  },
  enlarge: {
    picture: () => encode(scenePixels(48, 36), 'png'),
    recipes: {
      not: { width: 80, height: 80, fit: 'cover', format: 'png' },
      'not-contain': square,
      cover: { width: 80, height: 80, fit: 'cover', enlarge: true, format: 'png' },
      inside: { ...small, enlarge: true },
    },
  },
  position: {
    picture: () => encode(scene, 'jpeg'),
    // Inside: near an edge the picture's end would decide what is cut.
    focalPoint: { x: 0.32, y: 0.62 },
    recipes: {
      left: { ...narrow, position: 'left' },
      center: { ...narrow, position: 'center' },
      right: { ...narrow, position: 'right' },
      'focal-narrow': { ...narrow, position: 'focal' },
      attention: { ...narrow, position: 'attention' },
      entropy: { ...narrow, position: 'entropy' },
      top: { ...wide, position: 'top' },
      bottom: { ...wide, position: 'bottom' },
      'top-left': { ...wide, position: 'top-left' },
      'bottom-right': { ...narrow, position: 'bottom-right' },
      'focal-wide': { ...wide, position: 'focal' },
      'focal-mirrored': { ...narrow, position: 'focal', flip: 'horizontal' },
    },
  },
  cut: {
    picture: () => encode(scene, 'jpeg'),
    recipes: {
      crop: { ...small, crop: { left: 260, top: 70, width: 200, height: 200 } },
      'crop-cover': { ...wide, crop: { left: 0, top: 60, width: 300, height: 300 } },
      'crop-over-edge': { ...small, crop: { left: 400, top: 240, width: 400, height: 400 } },
      'crop-rotate': { ...small, crop: { left: 0, top: 0, width: 240, height: 180 }, rotate: 90 },
    },
  },
  'cut-turned': {
    picture: () => encodeTurned(scene, 6, 'jpeg'),
    recipes: { crop: { ...small, crop: { left: 0, top: 0, width: 240, height: 180 } } },
  },
  trim: {
    picture: () => encode(framedScenePixels(480, 360), 'jpeg'),
    recipes: { border: { ...small, trim: 20 }, 'border-cover': { ...wide, trim: 20, position: 'bottom' } },
  },
  turn: {
    picture: () => encode(scene, 'jpeg'),
    recipes: {
      'rotate-90': { ...small, rotate: 90 },
      'rotate-180': { ...small, rotate: 180 },
      'rotate-270': { ...small, rotate: 270 },
      'flip-horizontal': { ...small, flip: 'horizontal' },
      'flip-vertical': { ...small, flip: 'vertical' },
      'flip-both': { ...small, flip: 'both' },
      'rotate-90-flip': { ...small, rotate: 90, flip: 'horizontal' },
    },
  },
  'turn-alone': {
    picture: () => encode(scene, 'jpeg'),
    // Larger than the picture that every decode is made for, of at most 100 pixels.
    recipes: { 'rotate-90': { width: 40, height: 200, fit: 'cover', format: 'png', rotate: 90 } },
  },
  filter: {
    picture: () => encode(scene, 'jpeg'),
    recipes: {
      grayscale: { ...small, grayscale: true },
      blur: { ...small, blur: 2.5 },
      sharpen: { ...small, sharpen: 1.5 },
      'blur-grayscale': { ...small, blur: 1, grayscale: true },
    },
  },
  mark: {
    picture: () => encode(scene, 'jpeg'),
    recipes: {
      plain: { ...small, watermark: { fileId: markId } },
      'top-left': { ...small, watermark: { fileId: markId, position: 'top-left', opacity: 1, scale: 0.5 } },
      'on-grey-held': {
        ...inside,
        format: 'jpeg',
        maxBytes: 4000,
        grayscale: true,
        watermark: { fileId: markId, position: 'center', opacity: 0.8 },
      },
      'on-grey': {
        ...small,
        grayscale: true,
        watermark: { fileId: markId, position: 'center', opacity: 0.8 },
      },
    },
  },
  window: {
    picture: () => encode(windowPixels(480, 360), 'png'),
    recipes: {
      png: small,
      webp: { ...inside, format: 'webp' },
      avif: { ...inside, format: 'avif' },
      gif: { ...inside, format: 'gif' },
      jpeg: { ...inside, format: 'jpeg' },
      background: { ...inside, format: 'webp', background: '#ffe000' },
      'background-jpeg': { ...inside, format: 'jpeg', background: '#ffe000' },
      'background-half': { ...small, background: '#0060ff80' },
      'background-half-jpeg': { ...square, format: 'jpeg', background: '#0060ff80' },
      'grayscale-held': { ...inside, format: 'webp', grayscale: true, maxBytes: 1800 },
      'grayscale-background': { ...square, grayscale: true, background: '#c02020' },
      blur: { ...small, blur: 3 },
      contain: square,
      marked: { ...small, watermark: { fileId: markId, position: 'left', opacity: 1, scale: 0.4 } },
    },
  },
  format: {
    picture: () => encode(scene, 'jpeg'),
    recipes: {
      jpeg: { ...inside, format: 'jpeg' },
      webp: { ...inside, format: 'webp' },
      avif: { ...inside, format: 'avif' },
      gif: { ...inside, format: 'gif' },
      'webp-lossless': { ...inside, format: 'webp', lossless: true },
      'avif-lossless': { ...inside, format: 'avif', lossless: true },
      'jpeg-30': { ...inside, format: 'jpeg', quality: 30 },
      'jpeg-held': { ...inside, format: 'jpeg', quality: 95, maxBytes: 3500 },
      'webp-held': { ...inside, format: 'webp', quality: 95, maxBytes: 2500 },
      'avif-held': { ...inside, format: 'avif', quality: 80, maxBytes: 2000 },
    },
  },
  text: {
    picture: () => screenshot(192, 144),
    recipes: { png: small, webp: { ...inside, format: 'webp' }, jpeg: { ...inside, format: 'jpeg' } },
  },
  ...turnedShots,
  progressive: {
    picture: () => open(tall).jpeg({ quality: 85, progressive: true }).toBuffer(),
    recipes: { inside: small },
  },
  webp: { picture: () => encode(tall, 'webp'), recipes: { inside: small } },
  avif: { picture: () => encode(tall, 'avif'), recipes: { inside: small } },
  gif: { picture: () => encode(tall, 'gif'), recipes: { inside: small } },
  palette: { picture: () => open(tall).png({ palette: true }).toBuffer(), recipes: { inside: small } },
  cmyk: {
    picture: () => open(tall).withIccProfile('cmyk').jpeg({ quality: 90 }).toBuffer(),
    recipes: { inside: small, kept: { ...inside, format: 'jpeg', keepIcc: true } },
  },
  'bits-16': {
    picture: () => open(tall).toColourspace('rgb16').png().toBuffer(),
    recipes: { inside: small },
  },
  grey: {
    picture: () => open(tall).toColourspace('b-w').jpeg({ quality: 85 }).toBuffer(),
    recipes: { inside: small, 'contain-background': { ...square, background: '#c02020' } },
  },
  srgb: {
    picture: () => open(tall).withIccProfile('srgb').jpeg({ quality: 85 }).toBuffer(),
    recipes: { inside: small, kept: { ...inside, format: 'jpeg', keepIcc: true } },
  },
  p3: {
    picture: () => open(tall).withIccProfile('p3').jpeg({ quality: 85 }).toBuffer(),
    recipes: {
      inside: small,
      'kept-jpeg': { ...inside, format: 'jpeg', keepIcc: true },
      'kept-png': { ...small, keepIcc: true },
      'kept-webp': { ...inside, format: 'webp', keepIcc: true },
      'kept-avif': { ...inside, format: 'avif', keepIcc: true },
      'kept-grayscale': { ...small, grayscale: true, keepIcc: true },
      'kept-held': { ...inside, format: 'jpeg', keepIcc: true, maxBytes: 2500 },
    },
  },
  animation: {
    picture: () => animation({ width: 120, height: 90, frames: 3 }),
    recipes: {
      webp: { width: 60, fit: 'inside', format: 'webp' },
      gif: { width: 60, height: 60, fit: 'cover', format: 'gif' },
      'contain-background': { width: 60, height: 60, fit: 'contain', background: '#204080', format: 'webp' },
      rotate: { width: 60, height: 60, fit: 'inside', rotate: 90, format: 'webp' },
      blur: { width: 60, fit: 'inside', blur: 4, format: 'webp' },
      mark: {
        width: 60,
        fit: 'inside',
        format: 'webp',
        watermark: { fileId: markId, opacity: 1, scale: 0.5 },
      },
      still: { width: 60, fit: 'inside', format: 'webp', animated: false },
      jpeg: { width: 60, fit: 'inside', format: 'jpeg' },
    },
  },
  'animation-webp': {
    picture: () => animation({ width: 120, height: 90, frames: 3, format: 'webp' }),
    recipes: { gif: { width: 60, fit: 'inside', format: 'gif' } },
  },
};
