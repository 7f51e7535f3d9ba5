/**
 * Lint rules: type-aware ones for the TypeScript sources, plain ones for the scripts, and the walls of the
 * house that are import bans. What depends on folders below one another (floors, circles) is in
 * .dependency-cruiser.mjs.
 */
import tseslint from 'typescript-eslint';

/** Selectors banned in every TypeScript file. */
const syntax = [
  {
    selector: 'ExportDefaultDeclaration',
    message: 'No default exports: a name is searched and renamed better.',
  },
  { selector: 'ExportAllDeclaration', message: 'No barrels: import from the file that declares it.' },
  {
    selector: 'ExportNamedDeclaration[source]',
    message: 'No re-exports (barrels): import from the file that declares it.',
  },
  { selector: 'TSEnumDeclaration', message: 'No enums: a const array and a union type.' },
  { selector: 'TSModuleDeclaration[kind="namespace"]', message: 'No namespaces.' },
  { selector: 'TSParameterProperty', message: 'No parameter properties: type stripping cannot read them.' },
  {
    selector: 'TSAsExpression > TSAsExpression > TSUnknownKeyword',
    message: 'No "as unknown as": check the value, or describe its type.',
  },
];

const processEnv = {
  selector:
    'MemberExpression[object.name="process"][property.name="env"], MemberExpression[object.name="process"][property.value="env"]',
  message: 'process.env is read by main.ts for config.ts only; take a parameter.',
};

const queries = {
  selector:
    'CallExpression[callee.property.name=/^(selectFrom|insertInto|updateTable|deleteFrom|mergeInto)$/]',
  message: 'Queries only in queries.ts and …-queries.ts, foundation/database and foundation/queue.',
};

const sharp = {
  name: 'sharp',
  message: 'sharp only in foundation/imaging, which runs it in killable processes.',
};
const aws = {
  group: ['@aws-sdk/*', '@smithy/*'],
  message: 'The AWS SDK only in foundation/blobs/s3*.ts; others take a BlobStore.',
};
const http = {
  group: ['fastify', 'fastify-*', '@fastify/*'],
  message: 'The HTTP framework only in routes.ts, web.ts, features/access and foundation/http.',
};
const sql = {
  group: ['kysely', 'kysely/*', 'pg'],
  message: 'The query builder only in queries.ts and …-queries.ts, foundation/database and foundation/queue.',
};

const src = (/** @type {string[]} */ ...paths) => paths.map((path) => `packages/server/src/${path}`);

function bannedSyntax(files, selectors) {
  return { files, rules: { 'no-restricted-syntax': ['error', ...syntax, ...selectors] } };
}

/** Import bans for some files; a later entry replaces an earlier one, so each names all that hold for it. */
function bans(files, { paths = [], patterns = [] }) {
  return { files, rules: { '@typescript-eslint/no-restricted-imports': ['error', { paths, patterns }] } };
}

export default tseslint.config(
  {
    ignores: [
      '**/dist/**',
      '**/node_modules/**',
      'coverage/**',
      'bench/results/**',
      'packages/server/public/**',
      'packages/server/src/foundation/database/tables.ts',
    ],
  },
  { linterOptions: { reportUnusedDisableDirectives: 'error' } },
  {
    files: ['**/*.{js,mjs}'],
    languageOptions: {
      ecmaVersion: 2024,
      sourceType: 'module',
      globals: Object.fromEntries(
        [
          'AbortController AbortSignal Blob Buffer FormData TextDecoder TextEncoder URL URLSearchParams',
          'clearInterval clearTimeout console crypto fetch performance process setImmediate setInterval',
          'setTimeout structuredClone queueMicrotask Headers Request Response ReadableStream File',
        ]
          .join(' ')
          .split(' ')
          .map((name) => [name, 'readonly']),
      ),
    },
    rules: {
      'array-callback-return': 'error',
      'constructor-super': 'error',
      'for-direction': 'error',
      'getter-return': 'error',
      'no-async-promise-executor': 'error',
      'no-compare-neg-zero': 'error',
      'no-cond-assign': 'error',
      'no-const-assign': 'error',
      'no-constant-condition': ['error', { checkLoops: false }],
      'no-dupe-else-if': 'error',
      'no-dupe-keys': 'error',
      'no-duplicate-case': 'error',
      'no-duplicate-imports': 'error',
      'no-empty': 'error',
      'no-fallthrough': 'error',
      'no-loss-of-precision': 'error',
      'no-redeclare': 'error',
      'no-self-assign': 'error',
      'no-self-compare': 'error',
      'no-throw-literal': 'error',
      'no-undef': 'error',
      'no-unreachable': 'error',
      'no-unsafe-finally': 'error',
      'no-unused-vars': ['error', { argsIgnorePattern: '^_', caughtErrors: 'all' }],
      'no-useless-catch': 'error',
      'no-var': 'error',
      'object-shorthand': 'error',
      'prefer-const': 'error',
      'prefer-promise-reject-errors': 'error',
      'use-isnan': 'error',
      'valid-typeof': 'error',
      eqeqeq: ['error', 'always', { null: 'ignore' }],
    },
  },
  {
    files: ['**/*.{ts,mts}'],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: {
      parserOptions: {
        projectService: true,
        tsconfigRootDir: import.meta.dirname,
      },
    },
    rules: {
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports' }],
      '@typescript-eslint/consistent-type-exports': 'error',
      '@typescript-eslint/no-import-type-side-effects': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true, requireDefaultForNonUnion: false },
      ],
      '@typescript-eslint/return-await': ['error', 'error-handling-correctness-only'],
      '@typescript-eslint/ban-ts-comment': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', caughtErrors: 'all' }],
      // Numbers read well in texts; objects and undefined do not.
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowBoolean: true },
      ],
      // `void promise` marks a promise that is let go on purpose; arrows that return a void call read well.
      '@typescript-eslint/no-confusing-void-expression': 'off',
      // A handler's interface is asynchronous whether or not this one waits for anything.
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/no-non-null-assertion': 'error',
      // [...text] is the way to its code points.
      '@typescript-eslint/no-misused-spread': ['error', { allow: ['string'] }],
      '@typescript-eslint/unified-signatures': 'off',
      '@typescript-eslint/no-unnecessary-type-parameters': 'off',
      // `while (true)` is how a loop with its exit in the middle is written.
      '@typescript-eslint/no-unnecessary-condition': [
        'error',
        { allowConstantLoopConditions: 'only-allowed-literals' },
      ],
      'no-restricted-syntax': ['error', ...syntax],
      'no-self-compare': 'error',
      'object-shorthand': 'error',
      eqeqeq: ['error', 'always', { null: 'ignore' }],
    },
  },

  // The walls. The most general first; a later entry replaces an earlier one of the same rule.
  bannedSyntax(src('**/*.ts'), [processEnv, queries]),
  bannedSyntax(src('**/*queries.ts', 'foundation/database/**/*.ts', 'foundation/queue/**/*.ts'), [
    processEnv,
  ]),
  // main.ts hands process.env to config.ts; the others hand their children a part of it.
  bannedSyntax(src('main.ts', 'foundation/imaging/**/*.ts', 'foundation/database/embedded*.ts'), [queries]),
  bannedSyntax(src('foundation/database/embedded/**/*.ts'), [queries]),
  { files: src('**/*.ts'), ignores: src('main.ts'), rules: { 'no-console': 'error' } },
  bans(src('**/*.ts'), { paths: [sharp], patterns: [aws, http, sql] }),
  bans(src('foundation/imaging/**/*.ts'), { patterns: [aws, http, sql] }),
  bans(src('foundation/blobs/s3*.ts', 'foundation/blobs/s3/**/*.ts'), {
    paths: [sharp],
    patterns: [http, sql],
  }),
  bans(src('**/routes.ts', 'web.ts', 'features/access/*.ts', 'foundation/http/**/*.ts'), {
    paths: [sharp],
    patterns: [aws, sql],
  }),
  bans(src('**/*queries.ts', 'foundation/database/**/*.ts', 'foundation/queue/**/*.ts'), {
    paths: [sharp],
    patterns: [aws, http],
  }),
  // Tests use real parts of any kind: fixtures need sharp, routes need an app, checks look into the tables.
  {
    files: ['packages/server/src/**/*.{test,suite}.ts', 'packages/server/test/**/*.ts', 'acceptance/**/*.ts'],
    rules: {
      '@typescript-eslint/no-restricted-imports': 'off',
      'no-restricted-syntax': ['error', ...syntax],
      'no-console': 'off',
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
      '@typescript-eslint/no-unsafe-argument': 'off',
      // expect(object.method) does not call it.
      '@typescript-eslint/unbound-method': 'off',
    },
  },
  bans(['acceptance/**/*.ts'], {
    patterns: [
      {
        group: ['**/packages/server/src/**', 'mediablobkit'],
        message: 'The acceptance suite sees the server from outside only: the command, HTTP, files.',
      },
    ],
  }),
  // Stands in no tsconfig: it belongs to the test runner.
  { files: ['packages/server/vitest.config.ts'], extends: [tseslint.configs.disableTypeChecked] },
  {
    files: ['**/*.config.{js,ts,mts,mjs}', '**/global-setup.ts', '.dependency-cruiser.mjs', 'scripts/**'],
    rules: { 'no-restricted-syntax': 'off' },
  },
);
