import type { FileView } from '../api.js';
import { holds, sha256, type Scene } from '../crash/scene.js';

/** Where a file may be. */
export type Place = 'here' | 'trash' | 'nowhere';

/** A file that a client has sent, and what it knows of it. */
export interface Sent {
  readonly name: string;
  readonly bytes: Uint8Array;
  /** Known once the upload was acknowledged. */
  id?: string;
  /** Where it can be, after all answers and all requests without one. */
  places: ReadonlySet<Place>;
  /** What the client was told last, for people. */
  story: string;
}

/** What one client has done in its project. */
export interface Ledger {
  readonly project: string;
  readonly sent: Map<string, Sent>;
  /** Imports by id, with the name that their file has. */
  readonly imports: Map<string, string>;
}

export const only = (...places: readonly Place[]): ReadonlySet<Place> => new Set(places);

/**
 * Compares a project that has settled with what its client knows.
 * @returns what must not be, a sentence each.
 */
export async function judgeLedger({ api }: Scene, ledger: Ledger): Promise<readonly string[]> {
  const faults: string[] = [];
  const { project, sent, imports } = ledger;
  for (const [id, name] of imports) {
    const { body } = await api.call<{ status: string; file: FileView | null }>(
      'GET',
      `/projects/${project}/imports/${id}`,
    );
    if (body.status !== 'completed' && body.status !== 'failed')
      faults.push(`the import ${id} is ${body.status}`);
    const file = sent.get(name);
    // An import may give up; then there is no file.
    if (file) file.places = body.status === 'completed' ? only('here') : only('nowhere');
  }
  const found = new Map<string, { place: Place; file: FileView }>();
  for (const [place, query] of [
    ['here', ''],
    ['trash', '&trash=true'],
  ] as const) {
    for (const file of await api.files(project, query)) {
      if (found.has(file.filename)) faults.push(`${file.filename} is there twice`);
      found.set(file.filename, { place, file });
      if (!sent.has(file.filename)) faults.push(`${file.filename} is there, and nobody sent it`);
    }
  }
  for (const { name, bytes, id, places, story } of sent.values()) {
    const { place, file } = found.get(name) ?? { place: 'nowhere' as const, file: undefined };
    const where = `${name} (${id ?? 'no id'}, ${bytes.length} bytes, ${story})`;
    if (!places.has(place)) faults.push(`${where} is ${place}, not ${[...places].join(' or ')}`);
    if (!file) continue;
    if (id !== undefined && file.id !== id) faults.push(`${where} has the id ${file.id}`);
    if (file.sha256 !== sha256(bytes)) faults.push(`${where} has the hash ${file.sha256}`);
    if (place !== 'here') continue;
    if (file.status !== 'ready') faults.push(`${where} is ${file.status}: ${file.failure}`);
    if (!(await holds(api, file.id, bytes))) faults.push(`${where} reads back as something else`);
  }
  return faults;
}
