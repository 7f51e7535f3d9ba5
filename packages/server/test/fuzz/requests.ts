import fc from 'fast-check';

import { textFor, valueOf, type Schema } from './values.js';

/** An operation as the document describes it. */
export interface DocumentedOperation {
  readonly operationId: string;
  readonly method: string;
  readonly path: string;
  readonly parameters: readonly { readonly in: string; readonly name: string; readonly schema: Schema }[];
  readonly bodies: Readonly<Record<string, { readonly schema?: Schema }>>;
  readonly responses: Readonly<
    Record<string, { readonly content?: Readonly<Record<string, { readonly schema?: Schema }>> }>
  >;
}

/** One request of the fuzzer. Path parameters that are undefined get an id that exists. */
export interface FuzzedRequest {
  readonly operation: number;
  readonly caller: string;
  readonly params: Readonly<Record<string, string | undefined>>;
  readonly query: readonly (readonly [string, string])[];
  readonly headers: Readonly<Record<string, string>>;
  readonly contentType: string | undefined;
  /** Text of the body. */
  readonly body: string | undefined;
}

/** Every operation of the document. */
export function documentedOperations(document: {
  readonly paths: Readonly<Record<string, Readonly<Record<string, object>>>>;
}): DocumentedOperation[] {
  return Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, described]) => {
      const { operationId, parameters, requestBody, responses } = described as {
        readonly operationId: string;
        readonly parameters?: DocumentedOperation['parameters'];
        readonly requestBody?: { readonly content: DocumentedOperation['bodies'] };
        readonly responses: DocumentedOperation['responses'];
      };
      return {
        operationId,
        method: method.toUpperCase(),
        path,
        parameters: parameters ?? [],
        bodies: requestBody?.content ?? {},
        responses,
      };
    }),
  );
}

/** What a header can carry; the rest cannot be sent by any client. */
const headerText = fc
  .constantFrom(
    '*',
    '"x"',
    'bytes=0-',
    'bytes=9-1',
    '-1',
    '0',
    '3',
    'x'.repeat(300),
    'é',
    'a,b;c',
    '""',
    'W/"1"',
  )
  .map((text) => Buffer.from(text, 'utf8').toString('latin1'));
const headers = fc.dictionary(
  fc.constantFrom(
    'if-match',
    'if-none-match',
    'if-modified-since',
    'range',
    'accept',
    'idempotency-key',
    'content-disposition',
    'content-digest',
    'origin',
    'prefer',
    'upload-length',
    'upload-offset',
    'upload-metadata',
    'upload-checksum',
    'upload-defer-length',
    'x-request-id',
    'x-forwarded-for',
    'cookie',
  ),
  headerText,
  { maxKeys: 3 },
);

/** Requests of any operation by anybody. */
export function requestsOf(
  operations: readonly DocumentedOperation[],
  callers: readonly string[],
): fc.Arbitrary<FuzzedRequest> {
  return fc.oneof(...operations.map((operation, index) => requestOf(operation, index, callers)));
}

function requestOf(
  operation: DocumentedOperation,
  index: number,
  callers: readonly string[],
): fc.Arbitrary<FuzzedRequest> {
  const inPath = operation.parameters.filter((one) => one.in === 'path');
  const inQuery = operation.parameters.filter((one) => one.in === 'query');
  const params = fc.record(
    Object.fromEntries(
      inPath.map(({ name, schema }) => [
        name,
        fc.oneof({ weight: 5, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: textFor(schema) }),
      ]),
    ),
  );
  const one = (name: string, schema: Schema) => fc.tuple(fc.constant(name), textFor(schema));
  const query = fc.array(
    fc.oneof(...inQuery.map(({ name, schema }) => one(name, schema)), one('unknown', { type: 'string' })),
    { maxLength: inQuery.length === 0 ? 1 : 4 },
  );
  return fc
    .record({ caller: fc.constantFrom(...callers), params, query, headers, body: bodyOf(operation) })
    .map(({ body, ...rest }) => ({ operation: index, ...rest, ...body }));
}

function bodyOf({
  bodies,
}: DocumentedOperation): fc.Arbitrary<{ contentType: string | undefined; body: string | undefined }> {
  const nothing = fc.constant({ contentType: undefined, body: undefined });
  const odd = fc.record({
    contentType: fc.constantFrom(
      'application/json',
      'text/plain',
      'multipart/form-data; boundary=a',
      'x/y',
      'nonsense',
    ),
    body: fc.constantFrom(
      '{',
      '[]',
      'null',
      '"x"',
      '',
      '{"__proto__":{}}',
      '--a\r\n\r\nx',
      '\uFEFF{}',
      '[[[[',
    ),
  });
  const documented = Object.entries(bodies).map(([type, { schema = {} }]) =>
    type === 'application/json'
      ? valueOf(schema).map((value) => ({
          contentType: type,
          body: JSON.stringify(value),
        }))
      : fc.constantFrom('', 'abc', 'x'.repeat(5_000)).map((body) => ({
          contentType: type === '*/*' ? 'application/octet-stream' : type,
          body,
        })),
  );
  if (documented.length === 0)
    return fc.oneof({ weight: 5, arbitrary: nothing }, { weight: 1, arbitrary: odd });
  return fc.oneof(
    { weight: 10, arbitrary: fc.oneof(...documented) },
    { weight: 1, arbitrary: nothing },
    { weight: 1, arbitrary: odd },
  );
}
