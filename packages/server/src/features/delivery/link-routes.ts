import Type from 'typebox';

import type { Db } from '../../foundation/database/connect.js';
import type { Routes } from '../../foundation/http/app.js';
import type { AskedRecipe } from '../../foundation/imaging/recipe.js';
import { optionalMembers } from '../../foundation/imaging/vocabulary.js';
import { Problem } from '../../foundation/problems.js';
import type { Links } from './links.js';
import { findContent } from './queries.js';
import type { SettingsCache } from './settings-cache.js';
import { checkTransform } from './transform.js';

export interface LinkRoutesOptions {
  readonly db: Db;
  readonly links: Links;
  readonly settings: SettingsCache;
  /** Longest time in seconds that a caller may ask for. */
  readonly maxSeconds: number;
}

const LinkBody = Type.Object(
  {
    variant: Type.Optional(
      Type.String({ maxLength: 64, description: 'Name of a variant; the original when absent.' }),
    ),
    transform: Type.Optional(
      Type.Object(optionalMembers, {
        additionalProperties: false,
        description:
          'A picture that is no variant of the project, in the same words as its `settings.variants`: made when it is ' +
          'first asked for, kept for as long as it is (`MBK_TRANSFORM_LIFETIME`). Not together with `variant`.',
      }),
    ),
    expiresIn: Type.Optional(
      Type.Integer({
        minimum: 1,
        description:
          'Seconds that the link works, `MBK_LINK_MAX_LIFETIME` at most. When absent it works for ' +
          '`MBK_LINK_LIFETIME`, rounded up by a quarter or 15 minutes at most, so that links made soon after ' +
          'one another are equal.',
      }),
    ),
    download: Type.Optional(
      Type.Unsafe<boolean | string>({
        type: ['boolean', 'string'],
        minLength: 1,
        maxLength: 255,
        description: 'Send as an attachment: `true` of the file’s own name, a text of that name.',
      }),
    ),
  },
  { additionalProperties: false },
);

const LinkView = Type.Object({
  url: Type.String({ description: 'Reads the bytes without any other credential, with `GET` and `HEAD`.' }),
  expiresAt: Type.String({ format: 'date-time', description: 'RFC 3339, UTC.' }),
});

/** `POST /files/:id/links`: whoever may read a file may let others read it for a while. */
export function linkRoutes({ db, links, settings, maxSeconds }: LinkRoutesOptions): Routes {
  return (app) => {
    app.post(
      '/files/:id/links',
      {
        config: { permission: 'files:read' },
        schema: {
          operationId: 'createFileLink',
          summary: 'Make a signed link to a file or to a variant of it',
          description:
            'The link covers exactly one file, variant, download name and moment of expiry; none of them can be ' +
            'changed. It works for whoever has it and cannot be taken back before it expires, except by deleting ' +
            'the file.',
          tags: ['Files'],
          params: Type.Object({ id: Type.String() }),
          body: LinkBody,
          response: { 201: LinkView },
        },
      },
      async (request, reply) => {
        const { projectId, fileId } = request.access;
        const { variant, expiresIn, download } = request.body;
        const transform = readWish(request.body);
        if (expiresIn !== undefined && expiresIn > maxSeconds) {
          throw new Problem('invalid-request', {
            detail: `A link may work for ${maxSeconds} seconds.`,
            errors: [{ pointer: '/expiresIn', detail: `must be <= ${maxSeconds}` }],
            limit: maxSeconds,
            actual: expiresIn,
          });
        }
        const row = await findContent(db, projectId, fileId, variant);
        if (!row) throw new Problem('not-found');
        if (variant !== undefined && !row.variant && !Object.hasOwn(settings.of(row).variants, variant)) {
          throw new Problem('unknown-variant');
        }
        const { url, expiresAt } = links.linkFor({
          fileId,
          ...(variant === undefined ? {} : { variant }),
          ...(transform === undefined ? {} : { transform }),
          ...(expiresIn === undefined ? {} : { expiresIn }),
          ...(download === undefined || download === false
            ? {}
            : { download: download === true ? '1' : download }),
        });
        return reply.code(201).send({ url, expiresAt: expiresAt.toISOString() });
      },
    );
  };
}

/** @throws Problem `invalid-request` for a transformation that cannot be made, or beside a variant. */
function readWish({
  variant,
  transform,
}: {
  readonly variant?: string;
  readonly transform?: Readonly<Record<string, unknown>>;
}): AskedRecipe | undefined {
  if (transform === undefined) return undefined;
  if (variant !== undefined) {
    throw new Problem('invalid-request', {
      detail: 'A link is for a variant or for a transformation, not for both.',
      errors: [{ pointer: '/transform', detail: 'must be absent beside a variant' }],
    });
  }
  return checkTransform(transform, '/transform');
}
