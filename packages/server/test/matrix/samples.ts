import type { Credential, MatrixScene, Things } from './scene.js';
import { password, pixel } from './scene.js';

/** What a path parameter names; of a project, or one of the three that belong to none. */
export type Subject = keyof Things | 'serverInvitation' | 'person' | 'session';

export interface Payload {
  readonly headers?: Readonly<Record<string, string>>;
  readonly query?: string;
  readonly body?: unknown;
}

/** A well-formed request of one operation. */
export interface Sample {
  /** What each path parameter names. */
  readonly params?: Readonly<Record<string, Subject>>;
  /** What else is sent; `ids` are those of the project that the request is about. */
  readonly send?: (ids: Things, scene: MatrixScene, caller: Credential) => Payload;
  /** Statuses of a caller who may; the documented success when absent. */
  readonly status?: readonly number[];
  /** The same of what is in the trash. */
  readonly trashStatus?: number;
  /** Keys whose caller may see the thing itself only when it is theirs: who still gets 404 (by credential). */
  readonly unseenBy?: readonly string[];
  /** Who may do it, and is refused by what they are themselves (by credential, with the status). */
  readonly own?: Readonly<Record<string, number>>;
  /** True: ids stand in the body too, which `send` takes from `ids`. */
  readonly idsInBody?: boolean;
}

const project = { id: 'project' } as const;
const file = { id: 'file' } as const;
const json = (body: unknown) => ({ body, headers: { 'content-type': 'application/json' } });
const sends = (body: unknown) => () => json(body);
const tus = { 'tus-resumable': '1.0.0' };
const octets = { ...tus, 'content-type': 'application/offset+octet-stream', 'upload-offset': '0' };
const proof = sends({ password });
const unknownToken = 'x'.repeat(43);

/** By operation id; hidden routes by method and path. A route that stands in no line fails the suite. */
export const samples: Readonly<Record<string, Sample>> = {
  getLiveness: {},
  getReadiness: {},
  getHealth: {},
  getMetrics: { status: [401] },
  'GET /openapi.json': {},

  register: { send: sends({ email: 'new@example.com', password }) },
  logIn: { send: sends({ email: 'owner@example.com', password }) },
  refresh: { send: (_ids, { refreshToken }) => json({ refreshToken }) },
  logOut: { send: (_ids, { refreshToken }) => json({ refreshToken }) },
  getMe: {},
  changeMe: { send: sends({ name: 'Another' }) },
  // Others work in their projects, or no administrator would be left.
  deleteMe: { send: proof, own: { owner: 409, 'other user': 409, administrator: 409 } },
  changePassword: { send: sends({ password, newPassword: 'staple-battery-horse-7' }) },
  changeEmail: { send: sends({ password, email: 'else@example.com' }) },
  sendEmailVerification: {},
  verifyEmail: { send: sends({ token: unknownToken }), status: [404] },
  requestPasswordReset: { send: sends({ email: 'owner@example.com' }) },
  resetPassword: { send: sends({ token: unknownToken, password: 'staple-battery-horse-7' }), status: [404] },
  listSessions: {},
  endOtherSessions: {},
  endSession: { params: { sessionId: 'session' } },
  beginSecondFactor: { send: proof },
  removeSecondFactor: { send: proof },
  // None was begun.
  confirmSecondFactor: { send: sends({ code: '000000' }), status: [409] },

  listUsers: {},
  getUser: { params: { userId: 'person' } },
  changeUser: { params: { userId: 'person' }, send: sends({ disabled: true }) },
  deleteUser: { params: { userId: 'person' } },
  makeResetLink: { params: { userId: 'person' } },
  inviteUser: { send: sends({}) },
  listUserInvitations: {},
  revokeUserInvitation: { params: { invitationId: 'serverInvitation' } },
  listAudit: {},
  exportAudit: {},

  createProject: { send: sends({ name: 'New' }) },
  listProjects: {},
  getProject: { params: project },
  changeProject: { params: project, send: sends({ name: 'Renamed' }) },
  deleteProject: { params: project, trashStatus: 404 },
  getProjectUsage: { params: project },
  restoreProject: { params: project },
  listMembers: { params: project },
  changeMember: { params: { ...project, userId: 'member' }, send: sends({ role: 'viewer' }) },
  removeMember: { params: { ...project, userId: 'member' } },
  leaveProject: { params: project },
  transferProject: {
    params: project,
    send: ({ member: userId }) => json({ userId }),
    idsInBody: true,
  },
  inviteMember: { params: project, send: sends({ role: 'viewer' }) },
  listInvitations: { params: project },
  revokeInvitation: { params: { ...project, invitationId: 'invitation' } },
  acceptInvitation: { send: sends({ token: unknownToken }), status: [404] },
  createKey: { params: project, send: sends({ name: 'New' }) },
  listKeys: { params: project },
  changeKey: { params: { ...project, keyId: 'key' }, send: sends({ name: 'Renamed' }) },
  revokeKey: { params: { ...project, keyId: 'key' } },
  rotateKey: { params: { ...project, keyId: 'key' }, send: sends({ overlapSeconds: 0 }) },
  listProjectAudit: { params: project },
  exportProjectAudit: { params: project },

  listFiles: { params: project },
  getFile: { params: file },
  changeFile: { params: file, send: sends({ filename: 'renamed.png' }) },
  deleteFile: { params: file, trashStatus: 404 },
  restoreFile: { params: file },
  deleteFiles: { params: project, send: ({ file: id }) => json({ ids: [id] }), idsInBody: true },
  listDeletions: { params: project },
  getDeletion: { params: { ...project, deletionId: 'deletion' } },
  cancelDeletion: { params: { ...project, deletionId: 'deletion' } },
  getFileIntegrity: { params: file },
  getFileContent: { params: file },
  headFileContent: { params: file },
  createFileLink: { params: file, send: sends({}) },
  previewFile: { params: file, send: sends({ width: 1, height: 1, format: 'png' }) },

  listJobs: { params: project },
  summarizeJobs: { params: project },
  retryJob: { params: { ...project, jobId: 'deadJob' } },
  cancelJob: { params: { ...project, jobId: 'job' } },
  regenerateVariants: {
    params: project,
    send: ({ file: id }) => json({ files: [id] }),
    idsInBody: true,
  },
  listRegenerations: { params: project },
  getRegeneration: { params: { ...project, regenerationId: 'regeneration' } },
  cancelRegeneration: { params: { ...project, regenerationId: 'regeneration' } },

  beginUpload: { params: project, send: sends({ filename: 'a.txt', size: 3 }) },
  getUpload: { params: { ...project, uploadId: 'upload' } },
  abortUpload: { params: { ...project, uploadId: 'upload' } },
  signUploadParts: { params: { ...project, uploadId: 'upload' }, send: sends({ numbers: [1] }) },
  listUploadParts: { params: { ...project, uploadId: 'upload' } },
  // Nothing has arrived.
  completeUpload: { params: { ...project, uploadId: 'upload' }, send: sends({}), status: [409] },
  signUploadRequest: { params: project, send: sends({ method: 'PUT', key: 'a.txt', size: 3 }) },
  importFile: { params: project, send: sends({ url: 'https://example.com/a.png' }) },
  listImports: { params: project },
  getImport: { params: { ...project, importId: 'import' }, unseenBy: ['upload-only key'] },
  cancelImport: { params: { ...project, importId: 'import' }, unseenBy: ['upload-only key'] },
  uploadFiles: {
    params: project,
    send: () => ({ headers: { 'content-type': 'image/png' }, body: pixel, query: 'filename=c.png' }),
  },
  uploadRawFile: {
    params: project,
    send: () => ({ headers: { 'content-type': 'image/png' }, body: pixel, query: 'filename=d.png' }),
  },
  createResumableUpload: { params: project, send: () => ({ headers: { ...tus, 'upload-length': '3' } }) },
  describeResumableUpload: { params: { ...project, uploadId: 'tus' }, send: () => ({ headers: tus }) },
  appendToResumableUpload: {
    params: { ...project, uploadId: 'tus' },
    send: () => ({ headers: octets, body: Buffer.from('abc') }),
  },
  terminateResumableUpload: { params: { ...project, uploadId: 'tus' }, send: () => ({ headers: tus }) },
  'POST /projects/{id}/tus/{uploadId}': {
    params: { ...project, uploadId: 'tus' },
    send: () => ({ headers: { ...octets, 'x-http-method-override': 'PATCH' }, body: Buffer.from('abc') }),
    status: [204],
  },

  // The signature is the permission; without one, everybody is refused alike, whatever the id.
  'GET /staging/{uploadId}': { params: { uploadId: 'upload' } },
  'PUT /staging/{uploadId}': { params: { uploadId: 'upload' } },
  'POST /staging/{uploadId}': { params: { uploadId: 'upload' } },
  'DELETE /staging/{uploadId}': { params: { uploadId: 'upload' } },
};
