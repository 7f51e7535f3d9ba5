/**
 * The layout of the store. Keys are made of ids and checked names only, stand in a row before the first byte
 * is written, and are never reused: a later generation gets a key of its own.
 */

/** `{projectId}/files/{fileId}.{ext}`, later generations `{fileId}.{n}.{ext}`. */
export function originalKey(projectId: string, fileId: string, extension: string, generation = 1): string {
  return `${projectId}/files/${fileName(fileId, extension, generation)}`;
}

/** `{projectId}/{variant}/{fileId}.{ext}`, later generations `{fileId}.{n}.{ext}`. */
export function variantKey(
  projectId: string,
  variant: string,
  fileId: string,
  extension: string,
  generation = 1,
): string {
  if (!isVariantName(variant)) throw new RangeError(`not a variant name: ${JSON.stringify(variant)}`);
  return `${projectId}/${variant}/${fileName(fileId, extension, generation)}`;
}

/** Names a project may give its variants. `files` is the folder of the originals, `adhoc-…` that of signed sizes. */
export function isVariantName(name: string): boolean {
  return /^[a-z][a-z0-9-]{0,31}$/.test(name) && name !== 'files' && !name.startsWith('adhoc-');
}

function fileName(fileId: string, extension: string, generation: number): string {
  if (!/^[a-z0-9]{1,10}$/.test(extension)) throw new RangeError(`not an extension: ${JSON.stringify(extension)}`);
  return generation === 1 ? `${fileId}.${extension}` : `${fileId}.${generation}.${extension}`;
}
