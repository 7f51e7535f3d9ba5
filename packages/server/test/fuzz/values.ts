import fc from 'fast-check';

/** A JSON Schema as far as the document of this API uses it. */
export interface Schema {
  readonly type?: string | readonly string[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly items?: Schema;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly anyOf?: readonly Schema[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly format?: string;
  readonly additionalProperties?: boolean | Schema;
}

/** Texts that have broken other programs. */
export const naughty: readonly string[] = [
  '',
  ' ',
  '\u0000',
  'a\u0000b',
  '\uD800',
  '\uDC00x',
  '\u202Egnp.exe',
  '\uFEFF',
  'Ω≈ç√∫˜µ≤≥÷',
  '田中さんにあげて下さい',
  '👩‍👩‍👧‍👦',
  'Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤',
  "' OR 1=1 --",
  '"; DROP TABLE files; --',
  '../../../../etc/passwd',
  '..\\..\\windows\\win.ini',
  'file:///etc/passwd',
  'http://169.254.169.254/latest/meta-data/',
  'http://[::1]:22/',
  'javascript:alert(1)',
  '<script>alert(1)</script>',
  '${jndi:ldap://localhost/a}',
  '{{7*7}}',
  '%00',
  '%0d%0aset-cookie:%20a=b',
  'a\r\nb: c',
  '__proto__',
  'constructor',
  'toString',
  'null',
  'undefined',
  'NaN',
  '-0',
  '1e309',
  '9007199254740993',
  '99999999999999999999999999',
  '2038-01-19T03:14:08Z',
  '9999-12-31T23:59:60Z',
  '+275760-09-13T00:00:00Z',
  '0000-00-00T00:00:00Z',
  '00000000-0000-0000-0000-000000000000',
  'FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF',
  'x'.repeat(5_000),
  'é'.repeat(300),
];

const anyText = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...naughty) },
  fc.string({ unit: 'binary', maxLength: 40 }),
);
const anyNumber = fc.oneof(
  fc.constantFrom(0, -0, 1, -1, 0.5, 2 ** 31, 2 ** 53, -(2 ** 63), 1e308, Number.MIN_VALUE),
  fc.integer(),
);
const anything = fc.oneof(
  anyText,
  anyNumber,
  fc.constantFrom(null, true, false, [], {}, [[[[]]]], { __proto__: null, a: { b: [1] } }),
  fc.jsonValue({ maxDepth: 2 }),
);

/** A value that fits a schema, roughly: close to it is where handlers are reached. */
function fitting(schema: Schema, depth: number): fc.Arbitrary<unknown> {
  if (schema.const !== undefined) return fc.constant(schema.const);
  if (schema.enum) return fc.constantFrom(...schema.enum);
  if (schema.anyOf) return fc.oneof(...schema.anyOf.map((one) => valueOf(one, depth)));
  const type = Array.isArray(schema.type) ? (schema.type as readonly string[])[0] : schema.type;
  switch (type) {
    case 'boolean':
      return fc.boolean();
    case 'null':
      return fc.constant(null);
    case 'integer':
    case 'number': {
      const { minimum = -10, maximum = 1_000_000 } = schema;
      return fc.oneof(
        fc.constantFrom(minimum, maximum, minimum - 1, maximum + 1),
        fc.integer({ min: Math.ceil(minimum), max: Math.max(Math.ceil(minimum), Math.floor(maximum)) }),
      );
    }
    case 'string': {
      const { minLength = 0, maxLength = 40, format } = schema;
      if (format === 'uuid') return fc.uuid();
      if (format === 'date-time') return fc.date({ noInvalidDate: true }).map((date) => date.toISOString());
      return fc.oneof(
        anyText,
        fc.constantFrom('x'.repeat(minLength), 'x'.repeat(maxLength), 'x'.repeat(maxLength + 1)),
        fc.string({
          minLength: Math.min(minLength, 40),
          maxLength: Math.max(minLength, Math.min(maxLength, 40)),
        }),
      );
    }
    case 'array':
      return fc.array(valueOf(schema.items ?? {}, depth + 1), { maxLength: 4 });
    case 'object':
      return objectOf(schema, depth);
    default:
      return anything;
  }
}

function objectOf(schema: Schema, depth: number): fc.Arbitrary<unknown> {
  const { properties = {}, required = [], additionalProperties } = schema;
  if (depth > 5) return fc.constant({});
  const members = Object.fromEntries(
    Object.entries(properties).map(([name, member]) => [name, valueOf(member, depth + 1)]),
  );
  const declared = fc.record(members, { requiredKeys: required.filter((name) => name in members) });
  if (typeof additionalProperties !== 'object') return declared;
  const further = fc.dictionary(anyText, valueOf(additionalProperties, depth + 1), { maxKeys: 3 });
  return fc.tuple(declared, further).map(([one, other]) => ({ ...other, ...one }));
}

/** Something for a place of the document: mostly what fits or nearly does, and now and then anything at all. */
export function valueOf(schema: Schema, depth = 0): fc.Arbitrary<unknown> {
  return fc.oneof({ weight: 8, arbitrary: fitting(schema, depth) }, { weight: 1, arbitrary: anything });
}

/** Text for a query or a path. */
export function textFor(schema: Schema): fc.Arbitrary<string> {
  return fc.oneof(
    {
      weight: 2,
      arbitrary: fitting(schema, 0).map((value) => (typeof value === 'string' ? value : String(value))),
    },
    anyText,
  );
}
