import Type, { type Static } from 'typebox';

import { visibleStates, type FileFilters, type NameSearch } from './queries.js';

/** What a list of files can be filtered by; members of a query or a body. */
export const filterMembers = {
  status: Type.Optional(Type.Enum([...visibleStates], { type: 'string' })),
  type: Type.Optional(
    Type.String({
      maxLength: 255,
      pattern: '^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*/(?:\\*|[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*)$',
      description: 'A media type, or all of a kind: `image/*`.',
    }),
  ),
  name: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 255,
      description:
        'Part of the name, in any case; its beginning where the database has no trigrams (`mediablobkit doctor` tells).',
    }),
  ),
  trash: Type.Optional(Type.Boolean({ description: 'What is in the trash, instead of what is not.' })),
};
type Filters = Static<ReturnType<typeof Type.Object<typeof filterMembers>>>;

/** The filters that a client has asked for. */
export function readFilters({ status, type, name, trash }: Filters, search: NameSearch): FileFilters {
  return {
    status,
    type: type?.toLowerCase(),
    name: name && searchable(name),
    search,
    trashed: trash,
  };
}

/** PostgreSQL refuses NUL and lone surrogates in a text; no name holds either. */
function searchable(name: string): string {
  return name.replace(/[\0\p{Cs}]/gu, '\ufffd');
}
