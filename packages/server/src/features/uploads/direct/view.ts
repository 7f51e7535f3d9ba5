import Type, { type Static, type TSchema } from 'typebox';

import type { SignedRequest } from '../../../foundation/blobs/blob-store.js';
import type { UploadRow } from '../../files/upload-queries.js';
import type { Directions } from './operations.js';

const nullable = <S extends TSchema>(schema: S) => Type.Union([schema, Type.Null()]);
const moment = Type.String({ format: 'date-time' });
const fields = Type.Record(Type.String(), Type.String());

export const SignedRequestView = Type.Object({
  method: Type.String({ enum: ['GET', 'PUT', 'POST', 'DELETE'] }),
  url: Type.String(),
  headers: Type.Record(Type.String(), Type.String(), { description: 'Must be sent as they are.' }),
  fields: Type.Optional(fields),
});

/** An upload of several requests as the API shows it. */
export function uploadViewSchema(fileViewSchema: TSchema) {
  return Type.Object({
    id: Type.String(),
    protocol: Type.String({ enum: ['direct', 'tus'] }),
    status: Type.String({
      enum: ['open', 'verifying', 'completed', 'failed'],
      description: '`verifying`: all bytes have arrived and are being read.',
    }),
    filename: Type.String(),
    size: nullable(Type.Integer({ description: 'Bytes, as declared.' })),
    receivedBytes: nullable(Type.Integer({ description: 'Of a resumable upload.' })),
    createdAt: moment,
    failure: nullable(Type.Object({ code: Type.String(), detail: Type.String() })),
    file: nullable(fileViewSchema),
    expiresAt: Type.Optional(Type.String({ format: 'date-time', description: 'Of the addresses below.' })),
    put: Type.Optional(SignedRequestView),
    post: Type.Optional(SignedRequestView),
    multipart: Type.Optional(
      Type.Object({
        partBytes: Type.Integer({ description: 'Of every part but the last.' }),
        partCount: Type.Integer(),
      }),
    ),
  });
}
export type UploadView = Static<ReturnType<typeof uploadViewSchema>>;

/** States by their names in the row; the others are told as they are. */
const told = new Map([['completing', 'verifying']]);

export function presentUpload(upload: UploadRow, file: unknown, directions?: Directions) {
  const { failure_code: code, failure: detail } = upload;
  return {
    id: upload.id,
    protocol: upload.protocol,
    status: told.get(upload.status) ?? upload.status,
    filename: upload.filename,
    size: upload.size,
    receivedBytes: upload.protocol === 'tus' ? upload.received_bytes : null,
    createdAt: upload.created_at.toISOString(),
    failure: code === null ? null : { code, detail: detail ?? '' },
    file: file ?? null,
    ...(directions && {
      expiresAt: directions.expiresAt.toISOString(),
      ...(directions.put && { put: presentRequest(directions.put) }),
      ...(directions.post && { post: presentRequest(directions.post) }),
      ...(directions.multipart && { multipart: directions.multipart }),
    }),
  };
}

/** The length is part of the signature too, but every client sends it by itself, and browsers let nobody else. */
export function presentRequest({ method, url, headers, fields: given }: SignedRequest) {
  return {
    method,
    url,
    headers: Object.fromEntries(Object.entries(headers).filter(([name]) => name !== 'content-length')),
    ...(given && { fields: given }),
  };
}
