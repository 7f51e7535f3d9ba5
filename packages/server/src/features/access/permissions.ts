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

/** What a person is in a project: exactly one owner; those they share it with. */
export type Role = 'owner' | 'editor' | 'viewer';

export interface PermissionRule {
  /** What it allows, for the documentation. */
  readonly doc: string;
  /** `nothing`: no resource; `project`: a project, or a file of it, named by `:id`. */
  readonly on: 'nothing' | 'project';
  /** May somebody without a credential? `public`: only on projects whose visibility is public. */
  readonly nobody: 'yes' | 'no' | 'public';
  /** May a logged-in person? `admin`: an administrator of the server. For `on: 'project'` the roles that may. */
  readonly people: 'yes' | 'no' | 'admin' | readonly Role[];
  /** Scopes of an API key of which one suffices; empty: no key may. */
  readonly keys: readonly Scope[];
  /** May a signed link of the very file? */
  readonly links: boolean;
  /** Also while that is in the trash; everything else does not see it. Of a project in the trash no file is seen. */
  readonly trash?: 'project' | 'file';
}

const owner: readonly Role[] = ['owner'];
const editors: readonly Role[] = ['owner', 'editor'];
const members: readonly Role[] = ['owner', 'editor', 'viewer'];

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
  'users:manage': {
    doc: 'See and manage the people of the server. It opens none of their projects.',
    on: 'nothing',
    nobody: 'no',
    people: 'admin',
    keys: [],
    links: false,
  },
  'audit:server': {
    doc: 'Read who did what on the server and in its projects. It tells ids, never contents.',
    on: 'nothing',
    nobody: 'no',
    people: 'admin',
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
    doc: 'List the projects that one owns or is a member of.',
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
    people: members,
    keys: ['project:read', 'project:write'],
    links: false,
  },
  'project:write': {
    doc: 'Change a project and its settings.',
    on: 'project',
    nobody: 'no',
    people: owner,
    keys: ['project:write'],
    links: false,
  },
  'project:delete': {
    doc: 'Delete a project, and take it back out of the trash.',
    trash: 'project',
    on: 'project',
    nobody: 'no',
    people: owner,
    keys: [],
    links: false,
  },
  'keys:manage': {
    doc: 'Make, list and revoke API keys. No key may: keys cannot widen themselves.',
    on: 'project',
    nobody: 'no',
    people: owner,
    keys: [],
    links: false,
  },
  'audit:read': {
    doc: 'Read who did what in the project. No key may.',
    on: 'project',
    nobody: 'no',
    people: owner,
    keys: [],
    links: false,
  },
  'members:read': {
    doc: 'See who works in the project.',
    on: 'project',
    nobody: 'no',
    people: members,
    keys: [],
    links: false,
  },
  'members:manage': {
    doc: 'Invite people, change their roles, take them out. No key may.',
    on: 'project',
    nobody: 'no',
    people: owner,
    keys: [],
    links: false,
  },
  'project:leave': {
    doc: 'Leave a project. Its owner hands it over first.',
    on: 'project',
    nobody: 'no',
    people: ['editor', 'viewer'],
    keys: [],
    links: false,
  },
  'project:transfer': {
    doc: 'Hand the project over to one of its members.',
    on: 'project',
    nobody: 'no',
    people: owner,
    keys: [],
    links: false,
  },
  'files:read': {
    doc: 'List files and read their metadata.',
    on: 'project',
    nobody: 'no',
    people: members,
    keys: ['files:read', 'files:write'],
    links: false,
  },
  'files:create': {
    doc: 'Upload files.',
    on: 'project',
    nobody: 'no',
    people: editors,
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
    people: members,
    keys: ['files:read', 'files:create', 'files:write'],
    links: false,
  },
  'files:write': {
    doc: 'Change a file’s name and metadata.',
    on: 'project',
    nobody: 'no',
    people: editors,
    keys: ['files:write'],
    links: false,
  },
  'files:delete': {
    doc: 'Delete files, and take them back out of the trash.',
    trash: 'file',
    on: 'project',
    nobody: 'no',
    people: editors,
    keys: ['files:delete'],
    links: false,
  },
  'content:read': {
    doc: 'Read a file’s bytes or those of a variant.',
    on: 'project',
    nobody: 'public',
    people: members,
    keys: ['files:read', 'files:write'],
    links: true,
  },
} as const satisfies Record<string, PermissionRule>;

export type Permission = keyof typeof permissions;
