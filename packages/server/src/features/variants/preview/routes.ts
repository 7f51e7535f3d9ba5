import Type from 'typebox';

import { namedTypes } from '../../../foundation/http/accept.js';
import type { Routes } from '../../../foundation/http/app.js';
import { contentSafetyHeaders } from '../../../foundation/http/content-headers.js';
import { optionalMembers, readRecipe } from '../../../foundation/imaging/vocabulary.js';
import { Problem } from '../../../foundation/problems.js';
import { createPreview, type PreviewOptions } from './preview.js';

/** Bytes, which the serializer leaves alone. */
const Picture = {
  description: 'The picture; `X-Image-Width` and `X-Image-Height` tell its size.',
  content: { 'image/*': { schema: Type.Unsafe<Buffer>(Type.String({ format: 'binary' })) } },
};

/** `POST /files/:id/preview`: what a recipe makes of a file, without keeping it. */
export function previewRoutes(options: PreviewOptions): Routes {
  const preview = createPreview(options);
  return (app) => {
    app.post(
      '/files/:id/preview',
      {
        config: { permission: 'files:write' },
        schema: {
          operationId: 'previewFile',
          summary: 'Render a recipe without keeping the result',
          description:
            'For editors: the body is a recipe in the words of `settings.variants`, the answer the picture. Few are ' +
            'made at a time, and 60 of a project in a minute by each API process.',
          tags: ['variants'],
          params: Type.Object({ id: Type.String() }),
          body: Type.Object(optionalMembers, { additionalProperties: false }),
          response: { 200: Picture },
        },
      },
      async (request, reply) => {
        const read = readRecipe(request.body);
        if ('faults' in read) {
          throw new Problem('invalid-request', {
            detail: 'The recipe cannot be followed.',
            errors: read.faults.map(({ member, detail }) => ({
              pointer: member === undefined ? '' : `/${member}`,
              detail,
            })),
          });
        }
        const { projectId, fileId } = request.access;
        const gone = new AbortController();
        reply.raw.once('close', () => gone.abort());
        const { bytes, mimeType, width, height } = await preview({
          projectId,
          fileId,
          recipe: read.recipe,
          types: namedTypes(request.headers.accept),
          signal: gone.signal,
        });
        return reply
          .headers({
            ...contentSafetyHeaders,
            'cache-control': 'no-store',
            'content-type': mimeType,
            'x-image-width': width,
            'x-image-height': height,
          })
          .send(bytes);
      },
    );
  };
}
