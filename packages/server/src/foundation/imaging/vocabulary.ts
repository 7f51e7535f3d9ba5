import Type, { type TSchema } from 'typebox';
import { Value } from 'typebox/value';

import {
  askedFormats,
  fits,
  flips,
  outputFormats,
  places,
  positions,
  turns,
  type AskedRecipe,
  type Recipe,
  type Rectangle,
  type Watermark,
} from './recipe.js';

/**
 * One word of the vocabulary in which derived images are described. The table below is the only list of them: what
 * settings and signed URLs accept, the documentation in OpenAPI, and forms are made from it.
 */
export interface Word {
  /** JSON Schema of its value, with the description that people read. */
  readonly schema: TSchema;
  /** What a value that breaks the schema must be, as the end of a sentence. */
  readonly must: string;
  /** Reads it from a URL; what cannot be read comes out as something that the schema refuses. */
  readonly fromText: (text: string) => unknown;
  /** Writes it for a URL, so that `fromText` reads it back; `String` when absent. */
  readonly toText?: (value: never) => string;
}

/** Longest side of a result in pixels: the limit of AVIF's encoder; WebP has 14 bits for a side. */
export const maxSide = 16_384;
export const maxWebpSide = 16_383;

const number = (text: string): unknown => (/^-?\d{1,15}(\.\d{1,6})?$/.test(text) ? Number(text) : text);
const boolean = (text: string): unknown =>
  text === 'true' || text === '1' ? true : text === 'false' || text === '0' ? false : text;
const itself = (text: string): unknown => text;

function whole(minimum: number, maximum: number, description: string): Word {
  return {
    schema: Type.Integer({ minimum, maximum, description }),
    must: `must be a whole number from ${minimum} to ${maximum}`,
    fromText: number,
  };
}

function amount(minimum: number, maximum: number, description: string): Word {
  return {
    schema: Type.Number({ minimum, maximum, description }),
    must: `must be a number from ${minimum} to ${maximum}`,
    fromText: number,
  };
}

function truth(description: string): Word {
  return { schema: Type.Boolean({ description }), must: 'must be true or false', fromText: boolean };
}

function choice(words: readonly string[], description: string): Word {
  return {
    schema: Type.Enum([...words], { type: 'string', description }),
    must: `must be one of ${words.join(', ')}`,
    fromText: itself,
  };
}

const side = (description: string): Word => whole(1, maxSide, description);
const id = '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$';

/** In the order in which they act: cut, turned, sized, filtered, marked, encoded. */
export const vocabulary = {
  crop: {
    schema: Type.Object(
      {
        left: Type.Integer({ minimum: 0, maximum: 1_000_000 }),
        top: Type.Integer({ minimum: 0, maximum: 1_000_000 }),
        width: Type.Integer({ minimum: 1, maximum: 1_000_000 }),
        height: Type.Integer({ minimum: 1, maximum: 1_000_000 }),
      },
      {
        additionalProperties: false,
        description:
          'A rectangle of the upright original in its pixels, cut out before anything else; what lies outside the picture is left out. In a URL: `left,top,width,height`.',
      },
    ),
    must: 'must be {left, top, width, height}, whole numbers of pixels',
    fromText(text) {
      const [left, top, width, height, more] = text.split(',').map(number);
      return more === undefined ? { left, top, width, height } : text;
    },
    toText: ({ left, top, width, height }: Rectangle) => [left, top, width, height].join(','),
  },
  trim: whole(
    1,
    100,
    'Cuts the border off that differs from the top left pixel by no more than this (of 255). A picture of one colour stays as it is.',
  ),
  rotate: {
    schema: Type.Enum([...turns], {
      type: 'integer',
      description: 'Degrees clockwise, beside the orientation of the camera.',
    }),
    must: `must be one of ${turns.join(', ')}`,
    fromText: number,
  },
  flip: choice(flips, 'Mirrors: left to right, top to bottom, or both.'),
  width: side('Pixels of the box.'),
  height: side('Pixels of the box.'),
  dpr: amount(0.5, 4, 'Pixels of the device for each of the box: multiplies width and height.'),
  fit: choice(fits, 'How the picture fills the box; `inside` when absent.'),
  position: choice(
    positions,
    'What stays in view when `cover` cuts, and where `contain` puts the picture; `center` when absent.',
  ),
  enlarge: truth('Enlarge a picture that is smaller than the box; it is not when absent.'),
  background: {
    schema: Type.String({
      pattern: '^#[0-9a-f]{6}([0-9a-f]{2})?$',
      description:
        'Colour behind transparency and around `contain`, `#rrggbb` or `#rrggbbaa`; transparent when absent, white where the format has no transparency.',
    }),
    must: 'must be a colour such as #ffffff, or #ffffff80 with transparency, in lower case',
    fromText: (text) => (/^[0-9a-f]{6,8}$/.test(text) ? `#${text}` : text),
    toText: (color: string) => color.slice(1),
  },
  grayscale: truth('Leave the colours out.'),
  blur: amount(0.3, 100, 'Gaussian blur, standard deviation in pixels of the result.'),
  sharpen: amount(0.1, 10, 'Unsharp mask, standard deviation in pixels of the result.'),
  watermark: {
    schema: Type.Object(
      {
        fileId: Type.String({ pattern: id }),
        position: Type.Optional(Type.Enum([...places], { type: 'string' })),
        opacity: Type.Optional(Type.Number({ minimum: 0, maximum: 1 })),
        scale: Type.Optional(Type.Number({ minimum: 0.01, maximum: 1 })),
      },
      {
        additionalProperties: false,
        description:
          'A picture of the same project laid over the result: where (`bottom-right` when absent), how opaque (0.5), and its width as a part of the result’s (0.25). In a URL: `fileId,position,opacity,scale`, the last three optional.',
      },
    ),
    must: 'must be {fileId, position, opacity, scale}: a file of the project, one of the nine places, 0 to 1, 0.01 to 1',
    fromText(text) {
      const [fileId, position, opacity, scale, more] = text.split(',');
      if (more !== undefined) return text;
      return {
        fileId,
        ...(position === undefined ? {} : { position }),
        ...(opacity === undefined ? {} : { opacity: number(opacity) }),
        ...(scale === undefined ? {} : { scale: number(scale) }),
      };
    },
    // What stands behind the others can only be said with them.
    toText: ({ fileId, position = 'bottom-right', opacity = 0.5, scale = 0.25 }: Watermark) =>
      [fileId, position, opacity, scale].join(','),
  },
  animated: truth(
    'False shows the first frame of an animation. WebP and GIF keep all when absent, the others never do.',
  ),
  format: choice(
    askedFormats,
    '`webp` when absent. `auto`: AVIF, WebP or the format of the original, the first that `Accept` names; an animation is never sent as AVIF.',
  ),
  quality: whole(
    1,
    100,
    'The format’s measured default when absent: 80 for JPEG and WebP, 50 for AVIF. PNG and GIF ignore it. With `auto` it is that of JPEG and WebP; AVIF gets as much as looks alike.',
  ),
  effort: whole(
    0,
    9,
    'CPU for fewer bytes; a measured default when absent. WebP to 6, AVIF, PNG and GIF to 9; JPEG ignores it.',
  ),
  lossless: truth('WebP and AVIF without loss.'),
  maxBytes: whole(
    256,
    1_073_741_824,
    'Lowers the quality, not below 20, until the result has at most so many bytes; what is still larger then stays so. JPEG, WebP and AVIF.',
  ),
  stripMetadata: truth(
    'False keeps camera, lens and time of the photo; never a position. Nothing is kept when absent.',
  ),
  keepIcc: truth('Keep the colour profile of the original instead of converting to sRGB.'),
} as const satisfies Record<keyof Recipe, Word>;

export type RecipeMember = keyof typeof vocabulary;
export const recipeMembers = Object.keys(vocabulary) as readonly RecipeMember[];

/** One place of a recipe that is wrong. */
export interface RecipeFault {
  /** The member; undefined for the recipe as a whole. */
  readonly member: RecipeMember | undefined;
  /** As the end of a sentence. */
  readonly detail: string;
}

const mayBeWebp = (format: AskedRecipe['format']): boolean => format === 'webp' || format === 'auto';

/** What must hold between members; looked at when each by itself is right. */
const rules: readonly {
  readonly member?: RecipeMember;
  readonly detail: string;
  readonly holds: (recipe: AskedRecipe) => boolean;
}[] = [
  {
    detail: 'needs a width, a height or both',
    holds: ({ width, height }) => width !== undefined || height !== undefined,
  },
  {
    member: 'width',
    detail: `is at most ${maxWebpSide} for webp`,
    holds: ({ width = 1, format }) => !mayBeWebp(format) || width <= maxWebpSide,
  },
  {
    member: 'height',
    detail: `is at most ${maxWebpSide} for webp`,
    holds: ({ height = 1, format }) => !mayBeWebp(format) || height <= maxWebpSide,
  },
  {
    member: 'dpr',
    detail: `makes a side longer than ${maxWebpSide} pixels`,
    holds: ({ width = 1, height = 1, dpr = 1 }) => dpr <= 1 || Math.max(width, height) * dpr <= maxWebpSide,
  },
  {
    member: 'effort',
    detail: 'is at most 6 for webp',
    holds: ({ format, effort = 0 }) => !mayBeWebp(format) || effort <= 6,
  },
  {
    member: 'lossless',
    detail: 'is for webp and avif',
    holds: ({ lossless, format }) => lossless !== true || format === 'webp' || format === 'avif',
  },
  {
    member: 'maxBytes',
    detail: 'is for jpeg, webp and avif with loss',
    holds: ({ maxBytes, lossless, format }) =>
      maxBytes === undefined || (lossless !== true && format !== 'png' && format !== 'gif'),
  },
  {
    member: 'keepIcc',
    detail: 'is for jpeg, png, webp and avif',
    holds: ({ keepIcc, format }) => keepIcc !== true || format !== 'gif',
  },
];

/**
 * Checks a recipe that has its `fit` and `format` already; members it does not know are not looked at.
 * @returns everything that is wrong.
 */
export function recipeFaults(recipe: Readonly<Record<string, unknown>>): readonly RecipeFault[] {
  const wrong = recipeMembers.filter(
    (member) => recipe[member] !== undefined && !Value.Check(vocabulary[member].schema, recipe[member]),
  );
  if (wrong.length > 0) return wrong.map((member) => ({ member, detail: vocabulary[member].must }));
  if (!isAskedRecipe(recipe)) return [{ member: undefined, detail: 'needs a fit and a format' }];
  return rules.filter(({ holds }) => !holds(recipe)).map(({ member, detail }) => ({ member, detail }));
}

/** The members of a recipe as people write it, each of them optional; for schemas of request bodies. */
export const optionalMembers: Readonly<Record<RecipeMember, TSchema>> = mapMembers(({ schema }) =>
  Type.Optional(schema),
);

/** The JSON Schema of a whole recipe, as rows and job payloads hold it. */
export const RecipeSchema = Type.Unsafe<Recipe>(
  Type.Object({
    ...optionalMembers,
    fit: vocabulary.fit.schema,
    format: Type.Enum([...outputFormats], { type: 'string' }),
  }),
);

/** The same as people write it. */
export const AskedRecipeSchema = Type.Unsafe<AskedRecipe>(
  Type.Object({ ...optionalMembers, fit: vocabulary.fit.schema, format: vocabulary.format.schema }),
);

/** True for a recipe whose members are right, each by itself. */
export function isRecipe(value: unknown): value is Recipe {
  return Value.Check(RecipeSchema, value);
}

function isAskedRecipe(value: unknown): value is AskedRecipe {
  return Value.Check(AskedRecipeSchema, value);
}

/** What is not said of a recipe. */
const unsaid = { fit: 'inside', format: 'webp' } as const;

/**
 * Completes and checks a recipe that somebody wrote; members that the vocabulary lacks are the caller's to refuse.
 * @returns the recipe, or everything that is wrong with it.
 */
export function readRecipe(
  members: Readonly<Record<string, unknown>>,
): { readonly recipe: AskedRecipe } | { readonly faults: readonly RecipeFault[] } {
  const recipe: Record<string, unknown> = { ...unsaid, ...members };
  const faults = recipeFaults(recipe);
  // A recipe without a fault is one; the look at it tells the compiler.
  if (faults.length > 0 || !isAskedRecipe(recipe)) return { faults };
  return { recipe };
}

/** A recipe as the parameters of a URL, in the order of the vocabulary. */
export function recipeToText(recipe: AskedRecipe): readonly (readonly [RecipeMember, string])[] {
  return recipeMembers.flatMap((member) => {
    const value = recipe[member];
    const { toText = String }: Word = vocabulary[member];
    return value === undefined ? [] : [[member, toText(value as never)] as const];
  });
}

/** The members of a recipe that the parameters of a URL name; to be checked by `readRecipe`. */
export function recipeFromText(
  texts: Readonly<Partial<Record<RecipeMember, string>>>,
): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    recipeMembers.flatMap((member) => {
      const text = texts[member];
      return text === undefined ? [] : [[member, vocabulary[member].fromText(text)]];
    }),
  );
}

function mapMembers<T>(make: (word: Word) => T): Record<RecipeMember, T> {
  return Object.fromEntries(recipeMembers.map((member) => [member, make(vocabulary[member])])) as Record<
    RecipeMember,
    T
  >;
}
