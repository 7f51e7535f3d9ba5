import Type from 'typebox';

import { lineOfText } from '../../foundation/http/text.js';
import type { Role } from '../access/permissions.js';
import { optionalMembers, vocabulary } from '../../foundation/imaging/vocabulary.js';
import type { Project, Usage } from './queries.js';
import {
  deliveryModes,
  fallbacks,
  maxAllowedSizes,
  maxCorsOrigins,
  maxAllowedTypes,
  maxCacheSeconds,
  visibilities,
  type ProjectSettings,
  type VariantSettings,
} from './settings.js';

/** A member with one of some words. */
function choice<const T extends readonly string[]>(words: T, description?: string) {
  return Type.Enum([...words] as [...T], { type: 'string', ...(description ? { description } : {}) });
}

const closed = { additionalProperties: false };
const limit = (minimum: number, description: string) =>
  Type.Optional(
    Type.Union([Type.Integer({ minimum, maximum: Number.MAX_SAFE_INTEGER }), Type.Null()], { description }),
  );

/** A variant as people write it. */
const VariantInput = Type.Object(
  {
    ...optionalMembers,
    lazy: Type.Optional(Type.Boolean({ description: 'Make it when it is first asked for.' })),
  },
  { ...closed, description: 'Needs a width, a height or both.' },
);

/**
 * Settings as people send them. For the documentation: `checkSettings` has refused what breaks it before the
 * framework looks, with a better sentence and the right status.
 */
export const SettingsInput = Type.Object(
  {
    variants: Type.Optional(
      Type.Record(Type.String(), VariantInput, { description: 'By name; replaces all present variants.' }),
    ),
    quota: Type.Optional(
      Type.Object(
        {
          bytes: limit(0, 'Bytes of originals and variants; null is no limit.'),
          files: limit(0, 'Number of files; null is no limit.'),
          bytesPerUpload: limit(1, 'Bytes of one file; null is the server’s limit.'),
        },
        closed,
      ),
    ),
    allowedTypes: Type.Optional(
      Type.Array(Type.String(), {
        minItems: 1,
        maxItems: maxAllowedTypes,
        description: 'Media types such as `image/png`, `image/*` or `*/*`.',
      }),
    ),
    visibility: Type.Optional(choice(visibilities, '`public` files are for everybody.')),
    delivery: Type.Optional(
      Type.Object(
        {
          mode: Type.Optional(choice(deliveryModes)),
          fallback: Type.Optional(choice(fallbacks, 'What a variant that is not ready answers with.')),
          cacheSeconds: Type.Optional(Type.Integer({ minimum: 0, maximum: maxCacheSeconds })),
        },
        closed,
      ),
    ),
    allowedSizes: Type.Optional(
      Type.Array(Type.String(), {
        maxItems: maxAllowedSizes,
        description:
          'Sizes such as `640x480`, `640x` or `x480` to which pictures may be transformed by `?width=…&height=…` without a signature, with any `fit`, `position` and `format`.',
      }),
    ),
    corsOrigins: Type.Optional(
      Type.Array(Type.String(), {
        maxItems: maxCorsOrigins,
        description:
          'Origins such as `https://app.example.com`, or `*`, whose pages may call the API about this project and its files, besides those that the server allows and those that keys are bound to.',
      }),
    ),
  },
  { ...closed, description: 'A member that is given replaces the present one as a whole.' },
);

const amount = Type.Union([Type.Integer(), Type.Null()]);

const SettingsView = Type.Object({
  variants: Type.Record(
    Type.String(),
    Type.Unsafe<VariantSettings>(
      Type.Object({
        ...optionalMembers,
        fit: vocabulary.fit.schema,
        format: vocabulary.format.schema,
        lazy: Type.Optional(Type.Boolean()),
      }),
    ),
  ),
  quota: Type.Object({ bytes: amount, files: amount, bytesPerUpload: amount }),
  allowedTypes: Type.Array(Type.String()),
  visibility: choice(visibilities),
  delivery: Type.Object({
    mode: choice(deliveryModes),
    fallback: choice(fallbacks),
    cacheSeconds: Type.Integer(),
  }),
  allowedSizes: Type.Array(Type.String()),
  corsOrigins: Type.Array(Type.String()),
});

export const UsageView = Type.Object({
  originalBytes: Type.Integer({ description: 'Bytes of acknowledged originals.' }),
  variantBytes: Type.Integer({ description: 'Bytes of ready variants.' }),
  reservedBytes: Type.Integer({ description: 'Bytes held by uploads under way.' }),
  files: Type.Integer(),
  trashBytes: Type.Integer({
    description: 'Of the originals, those in the trash: counted until they are purged.',
  }),
});

export const ProjectView = Type.Object({
  id: Type.String({ format: 'uuid' }),
  name: Type.String(),
  ownerId: Type.String({ format: 'uuid' }),
  role: Type.Union([Type.Enum(['owner', 'editor', 'viewer'], { type: 'string' }), Type.Null()], {
    description: 'What the person who asks is in the project; null for an API key.',
  }),
  settings: SettingsView,
  usage: UsageView,
  deletedAt: Type.Union([
    Type.String({ format: 'date-time', description: 'When it was put into the trash.' }),
    Type.Null(),
  ]),
  createdAt: Type.String({ format: 'date-time' }),
  updatedAt: Type.String({ format: 'date-time' }),
});

const ProjectName = lineOfText(200, 'For people; need not be unique.');

export const CreateProjectBody = Type.Object(
  { name: ProjectName, settings: Type.Optional(SettingsInput) },
  closed,
);
export const ChangeProjectBody = Type.Object(
  { name: Type.Optional(ProjectName), settings: Type.Optional(SettingsInput) },
  closed,
);

export function presentUsage(usage: Usage) {
  return {
    originalBytes: usage.originalBytes,
    variantBytes: usage.variantBytes,
    reservedBytes: usage.reservedBytes,
    files: usage.files,
    trashBytes: usage.trashBytes,
  };
}

export function presentProject(project: Project, usage: Usage, role: Role | undefined) {
  return {
    id: project.id,
    name: project.name,
    ownerId: project.ownerId,
    role: role ?? null,
    settings: presentSettings(project.settings),
    usage: presentUsage(usage),
    deletedAt: project.deletedAt?.toISOString() ?? null,
    createdAt: project.createdAt.toISOString(),
    updatedAt: project.updatedAt.toISOString(),
  };
}

/** The schema’s types are mutable ones; the copy is shallow and cheap. */
function presentSettings(settings: ProjectSettings) {
  return {
    ...settings,
    variants: { ...settings.variants },
    allowedTypes: [...settings.allowedTypes],
    allowedSizes: [...settings.allowedSizes],
    corsOrigins: [...settings.corsOrigins],
  };
}
