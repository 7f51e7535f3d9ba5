import { LRUCache } from 'lru-cache';

import { readSettings, type ProjectSettings } from '../projects/settings.js';
import type { ContentRow } from './queries.js';

/** Reads projects' settings once per version: every answer needs them, and checking them costs more than a look-up. */
export interface SettingsCache {
  of(
    row: Pick<ContentRow, 'settings' | 'projectVersion'> & { readonly file: { readonly project_id: string } },
  ): ProjectSettings;
}

/** Projects whose settings are kept, some kilobytes each. */
const kept = 1000;

export function createSettingsCache(): SettingsCache {
  const cache = new LRUCache<string, { readonly version: number; readonly settings: ProjectSettings }>({
    max: kept,
  });
  return {
    of({ settings, projectVersion, file }) {
      const known = cache.get(file.project_id);
      if (known?.version === projectVersion) return known.settings;
      const read = readSettings(settings);
      cache.set(file.project_id, { version: projectVersion, settings: read });
      return read;
    },
  };
}
