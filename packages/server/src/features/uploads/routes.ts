import Type, { type TSchema } from 'typebox';

import type { Routes } from '../../foundation/http/app.js';
import { Problem } from '../../foundation/problems.js';
import type { PresentFiles } from '../files/present.js';
import { takeMultipart, type IntakeOptions } from './intake.js';

export interface UploadRoutesOptions extends IntakeOptions {
  readonly present: PresentFiles;
  /** The schema of what `present` makes of a file. */
  readonly fileViewSchema: TSchema;
  /** Where clients reach the server, without a slash at the end. */
  readonly publicUrl: string;
}

export function uploadRoutes(options: UploadRoutesOptions): Routes {
  const { present, fileViewSchema, publicUrl } = options;
  return (app) => {
    // A scope of its own: the body of no other route may be a form.
    void app.register(async (scope) => {
      scope.removeAllContentTypeParsers();
      // The body is left in the socket: whoever reads it sets the pace.
      scope.addContentTypeParser('multipart/form-data', (_request, _payload, done) => done(null));
      scope.post(
        '/projects/:id/upload',
        {
          config: { permission: 'files:create' },
          schema: {
            operationId: 'uploadFiles',
            summary: 'Upload one file or several, all or none',
            description:
              'Every part with a file name is a file; other fields are ignored. One file answers with the file and its Location, several with a list. A problem names its part as `#/parts/{index}`.',
            tags: ['files'],
            consumes: ['multipart/form-data'],
            params: Type.Object({ id: Type.String() }),
            body: Type.Object({ file: Type.Array(Type.String({ format: 'binary' })) }),
            response: {
              201: Type.Union([fileViewSchema, Type.Object({ data: Type.Array(fileViewSchema) })]),
            },
          },
          // The schema of the body is for the documentation: there is no parsed body to validate.
          validatorCompiler: () => () => true,
        },
        async (request, reply) => {
          if (request.headers['content-type'] === undefined) {
            throw new Problem('unsupported-media-type', { detail: 'Send the files as multipart/form-data.' });
          }
          const { projectId, caller } = request.access;
          const files = await takeMultipart(options, request.raw, { projectId, caller });
          const views = await present(projectId, files);
          const [file] = files;
          reply.code(201).serializer((body: unknown) => JSON.stringify(body));
          reply.type('application/json; charset=utf-8');
          if (files.length > 1 || file === undefined) return { data: views };
          reply.headers({ location: `${publicUrl}/files/${file.id}`, etag: `"${file.version}"` });
          return views[0];
        },
      );
    });
  };
}
