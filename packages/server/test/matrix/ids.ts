import { newId } from '../../src/foundation/ids.js';
import type { Target } from './expectations.js';
import type { Operation } from './operations.js';
import type { Subject } from './samples.js';
import type { Credential, MatrixScene, Place, Things } from './scene.js';

/** One choice of what the ids of a request name. */
export interface IdSet {
  readonly name: string;
  /** By path parameter, as it stands in the URL. */
  readonly values: Readonly<Record<string, string>>;
  /** Where the ids of the body come from. */
  readonly things: Things;
  /** What the project or file is; undefined: nothing. */
  readonly target: Target | undefined;
  /** Another id than that leads to nothing in it. */
  readonly dead: boolean;
  /** Conditional requests are tried as well. */
  readonly telling: boolean;
  /** The choice whose answer this one's must equal when it is refused with 404, and with 401. */
  readonly like?: string;
}

/** In no row. */
const unknownId = newId();
/** What no id looks like, percent-encoded where a URL demands it. Who proves nothing is refused before ids are read. */
const malformed = (id: string, { kind }: Credential): Readonly<Record<string, string>> =>
  kind === 'user' || kind === 'key'
    ? {
        word: 'nonsense',
        shouted: id.toUpperCase(),
        nul: `${id}%00`,
        long: 'x'.repeat(2_000),
        climbing: '..%2F..%2Fprojects',
      }
    : { word: 'nonsense' };
const ownTarget: Target = { place: 'own', trashed: undefined };

/** Every choice of ids for an operation; the first is that of everything in its place. */
export function idSetsOf({ sample }: Operation, scene: MatrixScene, caller: Credential): IdSet[] {
  const params = Object.entries(sample.params ?? {});
  const { own } = scene.things;
  const at = (place: Place) =>
    Object.fromEntries(params.map(([param, subject]) => [param, idOf(subject, scene, place, caller)]));
  const things = own;
  const first: IdSet = {
    name: 'own',
    values: at('own'),
    things,
    target: ownTarget,
    dead: false,
    telling: true,
  };
  const sets: IdSet[] = [first];
  const put = (param: string, value: string) => ({ ...first.values, [param]: value });
  for (const [param, subject] of params) {
    const primary = param === 'id';
    const like = `unknown ${param}`;
    const nothing = primary ? { target: undefined, dead: false } : { target: ownTarget, dead: true };
    sets.push({ name: like, values: put(param, unknownId), things, like, telling: true, ...nothing });
    const id = first.values[param] ?? '';
    for (const [name, value] of Object.entries(malformed(id, caller))) {
      sets.push({
        name: `${param}: ${name}`,
        values: put(param, value),
        things,
        like,
        telling: false,
        ...nothing,
      });
    }
    if (primary) {
      for (const place of ['foreign', 'trash'] as const) {
        const trashed = place === 'trash' ? ('project' as const) : undefined;
        // A file of a project in the trash is shown to nobody, whatever they may do in the trash.
        const target: Target | undefined =
          trashed !== undefined && subject === 'file' ? undefined : { place, trashed };
        const theirs = scene.things[place];
        sets.push({
          name: place,
          values: at(place),
          things: theirs,
          target,
          dead: false,
          like,
          telling: true,
        });
        if (params.length > 1) {
          const value = idOf(subject, scene, place, caller);
          sets.push({
            name: `${place} ${param}`,
            values: put(param, value),
            things,
            target,
            dead: true,
            like,
            telling: false,
          });
        }
      }
      if (subject === 'file') {
        const target: Target = { place: 'own', trashed: 'file' };
        sets.push({
          name: 'in the trash',
          values: put(param, own.binned),
          dead: false,
          things,
          target,
          like,
          telling: true,
        });
      }
    } else if (subject !== 'person') {
      for (const place of ['foreign', 'trash'] as const) {
        const value = idOf(subject, scene, place, caller);
        sets.push({
          name: `${place} ${param}`,
          values: put(param, value),
          things,
          like,
          telling: true,
          ...nothing,
        });
      }
    }
  }
  return sets;
}

function idOf(subject: Subject, scene: MatrixScene, place: Place, caller: Credential): string {
  switch (subject) {
    case 'session': {
      const others = scene.credentials.flatMap(({ name, sessionId }) =>
        sessionId === undefined || name === caller.name ? [] : [sessionId],
      );
      return (place === 'own' ? caller.sessionId : others[place === 'foreign' ? 0 : 1]) ?? unknownId;
    }
    case 'serverInvitation':
      // Those of projects are another kind.
      return place === 'own' ? scene.serverInvitation : scene.things[place].invitation;
    case 'person':
      return scene.person;
    default:
      return scene.things[place][subject];
  }
}
