/** What an API key may be given. `files:create` uploads and sees nothing else. */
export const scopes = [
  'files:read',
  'files:create',
  'files:write',
  'files:delete',
  'project:read',
  'project:write',
] as const;
export type Scope = (typeof scopes)[number];

/** What a person is in a project. */
export type Role = 'owner';

export interface PermissionRule {
  /** What it allows, for the documentation. */
  readonly doc: string;
  /** `nothing`: no resource; `project`: a project, or a file of it, named by `:id`. */
  readonly on: 'nothing' | 'project';
  /** May somebody without a credential? `public`: only on projects whose visibility is public. */
  readonly nobody: 'yes' | 'no' | 'public';
  /** May a logged-in person? For `on: 'project'` the roles that may. */
  readonly people: 'yes' | 'no' | readonly Role[];
  /** Scopes of an API key of which one suffices; empty: no key may. */
  readonly keys: readonly Scope[];
  /** May a signed link of the very file? */
  readonly links: boolean;
  /** Also for what is in the trash; everything else does not see that. */
  readonly trash?: boolean;
}

/**
 * The one permission table. Every route names an entry of it; the server refuses to start otherwise.
 */
export const permissions = {
  anyone: {
    doc: 'Needs no credential.',
    on: 'nothing',
    nobody: 'yes',
    people: 'yes',
    keys: [],
    links: false,
  },
  account: {
    doc: 'A logged-in person, about their own account.',
    on: 'nothing',
    nobody: 'no',
    people: 'yes',
    keys: [],
    links: false,
  },
  'projects:create': {
    doc: 'Create a project.',
    on: 'nothing',
    nobody: 'no',
    people: 'yes',
    keys: [],
    links: false,
  },
  'projects:list': {
    doc: 'List one’s own projects.',
    on: 'nothing',
    nobody: 'no',
    people: 'yes',
    keys: [],
    links: false,
  },
  'project:read': {
    doc: 'Read a project and its settings.',
    on: 'project',
    nobody: 'no',
    people: ['owner'],
    keys: ['project:read', 'project:write'],
    links: false,
  },
  'project:write': {
    doc: 'Change a project and its settings.',
    on: 'project',
    nobody: 'no',
    people: ['owner'],
    keys: ['project:write'],
    links: false,
  },
  'project:delete': {
    doc: 'Delete a project, and take it back out of the trash.',
    trash: true,
    on: 'project',
    nobody: 'no',
    people: ['owner'],
    keys: [],
    links: false,
  },
  'keys:manage': {
    doc: 'Make, list and revoke API keys. No key may: keys cannot widen themselves.',
    on: 'project',
    nobody: 'no',
    people: ['owner'],
    keys: [],
    links: false,
  },
  'files:read': {
    doc: 'List files and read their metadata.',
    on: 'project',
    nobody: 'no',
    people: ['owner'],
    keys: ['files:read', 'files:write'],
    links: false,
  },
  'files:create': {
    doc: 'Upload files.',
    on: 'project',
    nobody: 'no',
    people: ['owner'],
    keys: ['files:create', 'files:write'],
    links: false,
  },
  'uploads:signed': {
    doc: 'Send bytes under an address that was signed for them; the signature is the permission.',
    on: 'nothing',
    nobody: 'yes',
    people: 'yes',
    keys: [],
    links: false,
  },
  'imports:read': {
    doc: 'Follow an import. A key that may only upload sees those that it has begun itself.',
    on: 'project',
    nobody: 'no',
    people: ['owner'],
    keys: ['files:read', 'files:create', 'files:write'],
    links: false,
  },
  'files:write': {
    doc: 'Change a file’s name and metadata.',
    on: 'project',
    nobody: 'no',
    people: ['owner'],
    keys: ['files:write'],
    links: false,
  },
  'files:delete': {
    doc: 'Delete files, and take them back out of the trash.',
    trash: true,
    on: 'project',
    nobody: 'no',
    people: ['owner'],
    keys: ['files:delete'],
    links: false,
  },
  'content:read': {
    doc: 'Read a file’s bytes or those of a variant.',
    on: 'project',
    nobody: 'public',
    people: ['owner'],
    keys: ['files:read', 'files:write'],
    links: true,
  },
} as const satisfies Record<string, PermissionRule>;

export type Permission = keyof typeof permissions;
