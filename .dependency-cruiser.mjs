/**
 * The floors of the house, top to bottom. A module imports from its own room and from rooms below, never
 * upwards, so that there is no circle anywhere. `npm run floors` checks it; ARCHITECTURE.md draws it.
 *
 * Tests beside the code may import from any floor (a low room is tried together with the high ones that use
 * it); nothing may import them.
 */

const src = '^packages/server/src/';
const tests = '[.](test|suite)[.]ts$';

/** Features on their fixed order: each may import those below it. */
const features = [
  'uploads',
  'delivery',
  'variants',
  'cleanup',
  'files',
  'keys',
  'jobs',
  'projects',
  'accounts',
  'events',
  'audit',
  'access',
];

/** Rooms top to bottom. Rooms on one line share a floor and do not know one another. */
const floors = [
  ['(main[.]ts$|commands/)'],
  ['(web|work|openapi|health|metrics|translate-error)[.]ts$'],
  ['kit[.]ts$'],
  ['kit/'],
  ...features.map((feature) => [`features/${feature}/`]),
  ['foundation/queue/', 'foundation/limits/'],
  [
    'foundation/blobs/',
    'foundation/database/',
    'foundation/http/',
    'foundation/imaging/',
    'config([.]ts$|/)',
  ],
  ['(foundation/[^/]+|version)[.]ts$'],
];

/** Modules that are started or generated from, not imported. */
const entries = ['main[.]ts$', 'openapi[.]ts$', 'config/page[.]ts$', '.*/child[.]ts$'].map(
  (path) => src + path,
);

const roomPattern = (room) => `${src}${room}`;

const upwards = floors
  .flatMap((rooms, floor) =>
    rooms.map((room) => ({
      name: `upwards-from-${roomName(room)}`,
      comment: 'Imports go down only. Let the hall pass in what a low room needs from a high one.',
      severity: 'error',
      from: { path: roomPattern(room), pathNot: tests },
      to: { path: floors.slice(0, floor).flat().map(roomPattern) },
    })),
  )
  .filter(({ to }) => to.path.length > 0);

const sideways = floors
  .filter((rooms) => rooms.length > 1)
  .flatMap((rooms) =>
    rooms.map((room) => ({
      name: `sideways-from-${roomName(room)}`,
      comment: 'Rooms of one floor do not know one another.',
      severity: 'error',
      from: { path: roomPattern(room), pathNot: tests },
      to: { path: rooms.filter((other) => other !== room).map(roomPattern) },
    })),
  );

function roomName(room) {
  return room
    .replace(/\[\.\]ts|\[\^\/\]\+/g, '')
    .replace(/[^a-z]+/g, '-')
    .replace(/^-|-$/g, '');
}

/** @type {import('dependency-cruiser').IConfiguration} */
export default {
  forbidden: [
    ...upwards,
    ...sideways,
    {
      name: 'no-circular',
      comment: 'Two modules that need one another are one module, or need a third below both.',
      severity: 'error',
      from: { pathNot: tests },
      to: { circular: true },
    },
    {
      name: 'on-no-floor',
      comment: 'Every module stands on a floor. A new room is named in the list of floors.',
      severity: 'error',
      from: {},
      to: { path: src, pathNot: [...floors.flat().map(roomPattern), tests] },
    },
    {
      name: 'named-for-nothing',
      comment: 'A name such as utils or index takes in anything. Name the module for its idea.',
      severity: 'error',
      from: {},
      to: { path: '/(utils|util|helpers|helper|common|misc|lib|index)([.]ts$|/)', pathNot: 'node_modules' },
    },
    {
      name: 'settings-only-for-the-hall',
      comment:
        'Features and techniques receive what they need as parameters; only the hall knows the settings.',
      severity: 'error',
      from: { path: [`${src}features/`, `${src}foundation/`], pathNot: tests },
      to: { path: `${src}config([.]ts$|/)` },
    },
    {
      name: 'tests-are-not-imported',
      comment: 'What a test declares stays in the test; what several share stands in packages/server/test.',
      severity: 'error',
      from: { pathNot: [tests, '^packages/server/test/'] },
      to: { path: [tests, '^packages/server/test/'] },
    },
    {
      name: 'no-development-packages',
      comment: 'What the server imports is in its "dependencies", so that the published package has it.',
      severity: 'error',
      from: { path: src, pathNot: tests },
      to: { dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown'], dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'not-resolved',
      comment: 'The import leads nowhere.',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true },
    },
    {
      name: 'unused',
      comment:
        'Nobody reaches this module from the command, a child process or a generator: wire it or remove it.',
      severity: 'error',
      from: { path: entries },
      to: { path: src, pathNot: [...entries, tests], reachable: false },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    // Imports of types count: they tie rooms together as values do.
    tsPreCompilationDeps: true,
    combinedDependencies: true,
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default', 'types'],
      mainFields: ['module', 'main', 'types'],
    },
  },
};
