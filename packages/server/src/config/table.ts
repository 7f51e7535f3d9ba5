import {
  addresses,
  byteSize,
  credential,
  duration,
  flag,
  folder,
  hosts,
  integer,
  line,
  oneOf,
  origins,
  ports,
  postgresUrl,
  program,
  rate,
  signingSecret,
  smtpUrl,
  webUrl,
  type Kind,
} from './kinds.js';

/** One setting: its name in the environment, how its text is read, and what a person needs to know of it. */
export interface Setting<T> {
  readonly name: string;
  readonly kind: Kind<T>;
  /** Heading it stands under on the settings page. */
  readonly group: Group;
  /** Text that counts when nothing is set; read like any other text. */
  readonly standard?: string;
  /** What counts when nothing is set and it is worked out from something else, in words. */
  readonly otherwise?: string;
  readonly doc: string;
}

export const groups = [
  'Server',
  'Database',
  'Store',
  'Accounts and secrets',
  'Uploads',
  'Delivery',
  'Background work',
  'Cleanup',
  'Imaging',
] as const;
export type Group = (typeof groups)[number];

type Described<T> = Pick<Setting<T>, 'name' | 'kind' | 'doc'>;

function inGroup(group: Group) {
  return {
    /** Always has a value. */
    given: <T>(setting: Described<T> & { readonly standard: string }): Setting<T> => ({ ...setting, group }),
    /** Has a value only when set. */
    optional: <T>(setting: Described<T> & { readonly otherwise: string }): Setting<T | undefined> => ({
      ...setting,
      group,
    }),
  };
}

const server = inGroup('Server');
const database = inGroup('Database');
const store = inGroup('Store');
const accounts = inGroup('Accounts and secrets');
const uploads = inGroup('Uploads');
const delivery = inGroup('Delivery');
const work = inGroup('Background work');
const cleanup = inGroup('Cleanup');
const imaging = inGroup('Imaging');

/**
 * Every setting there is. The typed settings, the faults at start-up, `docs/settings.md` and
 * `mediablobkit config` are all made from this table.
 */
export const table = {
  host: server.given({
    name: 'HOST',
    kind: line('a host name or IP address', /^[\w.:%-]{1,255}$/),
    standard: '127.0.0.1',
    doc: 'Address to listen on. `0.0.0.0` or `::` opens the server to other machines.',
  }),
  port: server.given({
    name: 'PORT',
    kind: integer({ min: 1, max: 65_535 }),
    standard: '8420',
    doc: 'Port to listen on.',
  }),
  publicUrl: server.optional({
    name: 'MBK_PUBLIC_URL',
    kind: webUrl({ path: 'allowed' }),
    otherwise: '`http://localhost:PORT`',
    doc: 'Where clients reach this server. Every link in an answer begins with it. A path is allowed.',
  }),
  pagesUrl: server.optional({
    name: 'MBK_PAGES_URL',
    kind: webUrl({ path: 'allowed' }),
    otherwise: '`MBK_PUBLIC_URL` followed by `/console`',
    doc: 'Where people open links to join, to reset a password, to verify an address: `/invitation`, `/join`, `/reset-password` and `/verify-email` below it, with the token in the fragment.',
  }),
  dataFolder: server.given({
    name: 'MBK_DATA_FOLDER',
    kind: folder(),
    standard: './mediablobkit-data',
    doc: 'Folder of the embedded database, the blobs on disk and the secrets made at first start.',
  }),
  trustProxy: server.given({
    name: 'MBK_TRUST_PROXY',
    kind: addresses(),
    standard: 'none',
    doc: 'Reverse proxies whose `X-Forwarded-…` headers are believed. Nobody’s are believed by default.',
  }),
  corsOrigins: server.given({
    name: 'MBK_CORS_ORIGINS',
    kind: origins(),
    standard: 'none',
    doc: 'Origins whose pages may call the API from a browser.',
  }),
  logLevel: server.given({
    name: 'LOG_LEVEL',
    kind: oneOf('trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'),
    standard: 'info',
    doc: 'Least severe level that is logged.',
  }),
  logFormat: server.given({
    name: 'MBK_LOG_FORMAT',
    kind: oneOf('auto', 'json', 'pretty'),
    standard: 'auto',
    doc: '`auto` is `pretty` on a terminal and `json` elsewhere.',
  }),
  accessLog: server.given({
    name: 'MBK_ACCESS_LOG',
    kind: flag(),
    standard: 'true',
    doc: 'One log line per request.',
  }),
  metricsToken: server.optional({
    name: 'MBK_METRICS_TOKEN',
    kind: signingSecret(),
    otherwise: 'there is no `/metrics`',
    doc: 'Bearer token with which Prometheus reads `/metrics` of each process that answers requests.',
  }),
  shutdownTimeoutMs: server.given({
    name: 'MBK_SHUTDOWN_TIMEOUT',
    kind: duration({ min: '0s', max: '1h' }),
    standard: '15s',
    doc: 'Time that running requests and jobs get to end after SIGTERM; what is left is broken off within 15 s more. Keep the sum below the supervisor’s own limit.',
  }),

  databaseUrl: database.optional({
    name: 'DATABASE_URL',
    kind: postgresUrl(),
    otherwise: 'the embedded PostgreSQL',
    doc: 'PostgreSQL 15 or newer. Without it the server brings its own, in the data folder.',
  }),
  databaseDirectUrl: database.optional({
    name: 'MBK_DATABASE_DIRECT_URL',
    kind: postgresUrl(),
    otherwise: '`DATABASE_URL`',
    doc: 'The same database without a transaction pooler in between; used for LISTEN and migrations.',
  }),
  databasePoolSize: database.given({
    name: 'MBK_DATABASE_POOL_SIZE',
    kind: integer({ min: 2, max: 1000 }),
    standard: '10',
    doc: 'Most connections that one process opens.',
  }),
  statementTimeoutMs: database.given({
    name: 'MBK_STATEMENT_TIMEOUT',
    kind: duration({ min: '100ms', max: '1h' }),
    standard: '30s',
    doc: 'The database cancels a statement that runs longer.',
  }),
  lockTimeoutMs: database.given({
    name: 'MBK_LOCK_TIMEOUT',
    kind: duration({ min: '100ms', max: '1h' }),
    standard: '10s',
    doc: 'A statement that waits longer for a lock fails.',
  }),

  store: store.given({
    name: 'MBK_STORE',
    kind: oneOf('auto', 'disk', 's3'),
    standard: 'auto',
    doc: 'Where blobs are kept. `auto` is `s3` when `MBK_S3_BUCKET` is set, else `disk` (the data folder).',
  }),
  s3Bucket: store.optional({
    name: 'MBK_S3_BUCKET',
    kind: line('the name of a bucket', /^[a-zA-Z0-9][\w.-]{1,253}[a-zA-Z0-9]$/),
    otherwise: 'unset',
    doc: 'The bucket. Demanded by `MBK_STORE=s3` and by any other `MBK_S3_…` setting.',
  }),
  s3Endpoint: store.optional({
    name: 'MBK_S3_ENDPOINT',
    kind: webUrl({ path: 'allowed' }),
    otherwise: 'AWS',
    doc: 'URL of an S3-compatible service.',
  }),
  s3Region: store.optional({
    name: 'MBK_S3_REGION',
    kind: line('the name of a region', /^[\w-]{1,64}$/),
    otherwise: '`AWS_REGION`, or `us-east-1` with `MBK_S3_ENDPOINT`',
    doc: 'Region of the bucket. AWS demands it.',
  }),
  s3ForcePathStyle: store.optional({
    name: 'MBK_S3_FORCE_PATH_STYLE',
    kind: flag(),
    otherwise: '`true` with `MBK_S3_ENDPOINT`, else `false`',
    doc: 'Put the bucket into the path (`host/bucket/key`) and not into the host name.',
  }),
  s3PublicEndpoint: store.optional({
    name: 'MBK_S3_PUBLIC_ENDPOINT',
    kind: webUrl({ path: 'allowed' }),
    otherwise: '`MBK_S3_ENDPOINT`',
    doc: 'URL under which clients reach the service; used in presigned URLs only.',
  }),
  s3CreateBucket: store.given({
    name: 'MBK_S3_CREATE_BUCKET',
    kind: flag(),
    standard: 'false',
    doc: 'Make the bucket at start-up when it is not there.',
  }),
  awsAccessKeyId: store.optional({
    name: 'AWS_ACCESS_KEY_ID',
    kind: credential(),
    otherwise: 'what the AWS SDK finds, on AWS only',
    doc: 'Access key of the store. Demanded with `MBK_S3_ENDPOINT`.',
  }),
  awsSecretAccessKey: store.optional({
    name: 'AWS_SECRET_ACCESS_KEY',
    kind: credential(),
    otherwise: 'what the AWS SDK finds, on AWS only',
    doc: 'Secret of that access key.',
  }),
  awsSessionToken: store.optional({
    name: 'AWS_SESSION_TOKEN',
    kind: credential(),
    otherwise: 'unset',
    doc: 'Token of temporary credentials.',
  }),
  awsRegion: store.optional({
    name: 'AWS_REGION',
    kind: line('the name of a region', /^[\w-]{1,64}$/),
    otherwise: 'unset',
    doc: 'Counts when `MBK_S3_REGION` is not set.',
  }),

  jwtSecret: accounts.optional({
    name: 'MBK_JWT_SECRET',
    kind: signingSecret(),
    otherwise: 'made once into the data folder; demanded with `DATABASE_URL`',
    doc: 'Signs access tokens. The same in every process of an installation.',
  }),
  jwtSecretPrevious: accounts.optional({
    name: 'MBK_JWT_SECRET_PREVIOUS',
    kind: signingSecret(),
    otherwise: 'unset',
    doc: 'The `MBK_JWT_SECRET` of before. Access tokens signed with it keep working; remove it once they have expired (`MBK_ACCESS_TOKEN_LIFETIME`).',
  }),
  linkSecret: accounts.optional({
    name: 'MBK_LINK_SECRET',
    kind: signingSecret(),
    otherwise: 'made once into the data folder; demanded with `DATABASE_URL`',
    doc: 'Signs links to files. The same in every process, and another than `MBK_JWT_SECRET`.',
  }),
  linkSecretPrevious: accounts.optional({
    name: 'MBK_LINK_SECRET_PREVIOUS',
    kind: signingSecret(),
    otherwise: 'unset',
    doc: 'The `MBK_LINK_SECRET` of before. Links signed with it keep working; remove it once they have expired (`MBK_LINK_MAX_LIFETIME`).',
  }),
  accessTokenLifetimeMs: accounts.given({
    name: 'MBK_ACCESS_TOKEN_LIFETIME',
    kind: duration({ min: '10s', max: '24h' }),
    standard: '15m',
    doc: 'How long an access token works.',
  }),
  refreshTokenLifetimeMs: accounts.given({
    name: 'MBK_REFRESH_TOKEN_LIFETIME',
    kind: duration({ min: '1m', max: '365d' }),
    standard: '30d',
    doc: 'How long a session lasts without being used.',
  }),
  registration: accounts.given({
    name: 'MBK_REGISTRATION',
    kind: oneOf('open', 'invite', 'closed'),
    standard: 'open',
    doc: '`invite` wants an invitation of an administrator for a new account, `closed` refuses them all; the very first one, the administrator, can always be made.',
  }),
  smtpUrl: accounts.optional({
    name: 'MBK_SMTP_URL',
    kind: smtpUrl(),
    otherwise: 'no mail is sent; administrators pass links on',
    doc: 'Server that takes mail: `smtp://user:password@host:587` (STARTTLS, demanded with a password) or `smtps://…` (TLS from the start). `?tls=off` for a relay without TLS.',
  }),
  mailFrom: accounts.optional({
    name: 'MBK_MAIL_FROM',
    kind: line(
      'an e-mail address, or a name with the address in angle brackets',
      /^(?:[^<>\p{Cc}@]{1,100} <[^\s<>\p{Cc}]{1,200}@[^\s<>\p{Cc}]{1,200}>|[^\s<>\p{Cc}]{1,200}@[^\s<>\p{Cc}]{1,200})$/u,
    ),
    otherwise: 'unset',
    doc: 'Sender of mail. Demanded with `MBK_SMTP_URL`.',
  }),
  loginRate: accounts.given({
    name: 'MBK_LOGIN_RATE',
    kind: rate(),
    standard: '10/15m',
    doc: 'Failed logins from one address for one account; 20 times as many for all accounts together. Failures from elsewhere never keep anybody out.',
  }),
  authRate: accounts.given({
    name: 'MBK_AUTH_RATE',
    kind: rate(),
    standard: '100/15m',
    doc: 'Registrations, password resets and links of accounts that one address may ask for.',
  }),
  apiRate: accounts.given({
    name: 'MBK_API_RATE',
    kind: rate(),
    standard: '30000/1m',
    doc: 'Requests of one person or one API key, or of one address without either, that are not for bytes.',
  }),
  projectRate: accounts.given({
    name: 'MBK_PROJECT_RATE',
    kind: rate(),
    standard: '60000/1m',
    doc: 'Requests about one project, whoever asks, that are not for bytes.',
  }),
  contentRate: accounts.given({
    name: 'MBK_CONTENT_RATE',
    kind: rate(),
    standard: 'none',
    doc: 'Requests for bytes by one address, counted by each process for itself. A CDN, a proxy that is not trusted and an office are one address.',
  }),
  passwordHashes: accounts.optional({
    name: 'MBK_PASSWORD_HASHES',
    kind: integer({ min: 1, max: 64 }),
    otherwise: 'one for every two processor cores',
    // With as many as cores a hundred logins at once leave a download a third of its rate (npm run bench:logins).
    doc: 'Passwords hashed at the same time by one process; each takes 19 MiB and a thread. Others wait, so that uploads and downloads go on beside them.',
  }),

  maxUploadBytes: uploads.given({
    name: 'MBK_MAX_UPLOAD_BYTES',
    kind: byteSize({ min: '1', max: '5TiB' }),
    standard: '5GiB',
    doc: 'Largest file. A project can set a lower limit, not a higher one.',
  }),
  maxFilesPerUpload: uploads.given({
    name: 'MBK_MAX_FILES_PER_UPLOAD',
    kind: integer({ min: 1, max: 1000 }),
    standard: '100',
    doc: 'Most files in one multipart upload.',
  }),
  uploadIdleTimeoutMs: uploads.given({
    name: 'MBK_UPLOAD_IDLE_TIMEOUT',
    kind: duration({ min: '1s', max: '1h' }),
    standard: '30s',
    doc: 'An upload that sends no byte for this long ends with 408.',
  }),
  uploadMinThroughput: uploads.given({
    name: 'MBK_UPLOAD_MIN_THROUGHPUT',
    kind: byteSize({ min: '0', max: '1GiB' }),
    standard: '1KiB',
    doc: 'Bytes a second that an upload must bring, over a window of time; slower ones end with 408. `0` allows any.',
  }),
  uploadStaleMs: uploads.given({
    name: 'MBK_UPLOAD_STALE',
    kind: duration({ min: '3s', max: '24h' }),
    standard: '5m',
    doc: 'An unfinished upload whose process has been silent for this long is taken for dead and cleaned up. Uploads give a sign of life three times as often, every 30 s at least.',
  }),
  uploadExpiryMs: uploads.given({
    name: 'MBK_UPLOAD_EXPIRY',
    kind: duration({ min: '10s', max: '30d' }),
    standard: '24h',
    doc: 'An upload of several requests (resumable, or direct to the store) that is not finished is given up, with all it has stored, this long after its last byte, or after its last signed URL has expired.',
  }),
  uploadUrlLifetimeMs: uploads.given({
    name: 'MBK_UPLOAD_URL_LIFETIME',
    kind: duration({ min: '1m', max: '6d' }),
    standard: '1h',
    doc: 'How long an address works under which a client sends bytes to the store directly.',
  }),
  defaultQuotaBytes: uploads.optional({
    name: 'MBK_DEFAULT_QUOTA',
    kind: byteSize({ min: '1', max: '8000TiB' }),
    otherwise: 'no limit',
    doc: 'Quota of projects that set none.',
  }),
  importPorts: uploads.given({
    name: 'MBK_IMPORT_PORTS',
    kind: ports(),
    standard: '80, 443',
    doc: 'Ports that files may be imported from. `none` turns imports off.',
  }),
  importAllow: uploads.given({
    name: 'MBK_IMPORT_ALLOW',
    kind: hosts(),
    standard: 'none',
    doc: 'Hosts and networks that files may be imported from although their addresses are not public. Whoever may upload can then read from them.',
  }),
  importTimeoutMs: uploads.given({
    name: 'MBK_IMPORT_TIMEOUT',
    kind: duration({ min: '1s', max: '24h' }),
    standard: '1h',
    doc: 'Longest time that one import may take. Its source must also keep to the two limits of uploads above, and answer within the first.',
  }),

  delivery: delivery.given({
    name: 'MBK_DELIVERY',
    kind: oneOf('auto', 'redirect', 'proxy'),
    standard: 'auto',
    doc: '`redirect` sends clients to a presigned URL of the store, `proxy` sends the bytes itself, `auto` redirects when the store can.',
  }),
  cdnUrl: delivery.optional({
    name: 'MBK_CDN_URL',
    kind: webUrl({ path: 'allowed' }),
    otherwise: 'none',
    doc: 'Address of a CDN in front of this server. Links to public files begin with it, and their bytes are sent by this server, so that the CDN can keep them.',
  }),
  memoryCacheBytes: delivery.given({
    name: 'MBK_MEMORY_CACHE',
    kind: byteSize({ min: '0', max: '64GiB' }),
    standard: '64MiB',
    doc: 'Small blobs (256 KiB at most) that are asked for more than once are kept in memory, up to so much in all; `0` keeps none. While it is not `0`, small blobs are compared with the SHA-256 of their file whenever they are read.',
  }),
  verifyReads: delivery.given({
    name: 'MBK_VERIFY_READS',
    kind: flag(),
    standard: 'false',
    doc: 'Compare whole answers with the SHA-256 of their file while they are sent, and break off before the end when they differ. Ranges and redirects cannot be verified.',
  }),
  accelRedirect: delivery.optional({
    name: 'MBK_ACCEL_REDIRECT',
    kind: line('a path such as /blobs/', /^\/[\w./-]{0,200}\/$/),
    otherwise: 'off',
    doc: 'For the disk store behind nginx: the path of an `internal` location over the blob folder, by which nginx sends the bytes (`X-Accel-Redirect`).',
  }),
  linkLifetimeMs: delivery.given({
    name: 'MBK_LINK_LIFETIME',
    kind: duration({ min: '1m', max: '6d' }),
    standard: '1h',
    doc: 'How long a signed link works when nobody asks for another time.',
  }),
  linkMaxLifetimeMs: delivery.given({
    name: 'MBK_LINK_MAX_LIFETIME',
    kind: duration({ min: '1m', max: '365d' }),
    standard: '7d',
    doc: 'Longest time that a signed link can be asked to work.',
  }),
  maxWaitMs: delivery.given({
    name: 'MBK_MAX_WAIT',
    kind: duration({ min: '0s', max: '5m' }),
    standard: '30s',
    doc: 'Longest time that `?wait=` holds a request.',
  }),

  transformLifetimeMs: delivery.given({
    name: 'MBK_TRANSFORM_LIFETIME',
    kind: duration({ min: '1m', max: '3650d' }),
    standard: '30d',
    doc: 'A picture that was made for a signed or allowed transformation is removed when nobody has asked for it for this long.',
  }),
  transformsPerFile: delivery.given({
    name: 'MBK_TRANSFORMS_PER_FILE',
    kind: integer({ min: 1, max: 10_000 }),
    standard: '100',
    doc: 'Most transformations kept of one file; a further one takes the place of that which was not asked for longest.',
  }),
  variantGraceMs: delivery.given({
    name: 'MBK_VARIANT_GRACE',
    kind: duration({ min: '0s', max: '3650d' }),
    standard: '7d',
    doc: 'Variants whose name a project’s settings no longer say are served for this long, then removed.',
  }),

  trashDays: work.given({
    name: 'MBK_TRASH_DAYS',
    kind: integer({ min: 0, max: 3650 }),
    standard: '30',
    doc: 'Days for which deleted files and projects can be restored; then they are removed for good.',
  }),
  jobConcurrency: work.optional({
    name: 'MBK_JOB_CONCURRENCY',
    kind: integer({ min: 1, max: 1000 }),
    otherwise: '`MBK_IMAGING_PROCESSES`, at least 4',
    doc: 'Jobs that one worker runs at the same time.',
  }),
  importConcurrency: work.optional({
    name: 'MBK_IMPORT_CONCURRENCY',
    kind: integer({ min: 1, max: 1000 }),
    otherwise: 'half of `MBK_JOB_CONCURRENCY`',
    doc: 'Imports among the jobs that one worker runs at the same time; they wait for other people’s servers.',
  }),
  jobLeaseMs: work.given({
    name: 'MBK_JOB_LEASE',
    kind: duration({ min: '2s', max: '1h' }),
    standard: '30s',
    doc: 'A job whose worker has been silent for this long is taken over by another.',
  }),

  cleanupCap: cleanup.given({
    name: 'MBK_CLEANUP_CAP',
    kind: integer({ min: 100, max: 10_000_000 }),
    standard: '10000',
    doc: 'Most uploads, files, blobs or rows that one run of a line of the timetable takes; its next run goes on.',
  }),
  jobsKeptMs: cleanup.given({
    name: 'MBK_JOBS_KEPT',
    kind: duration({ min: '1m', max: '3650d' }),
    standard: '7d',
    doc: 'How long finished jobs and imports can be looked up.',
  }),
  deadJobsKeptMs: cleanup.given({
    name: 'MBK_DEAD_JOBS_KEPT',
    kind: duration({ min: '1m', max: '3650d' }),
    standard: '30d',
    doc: 'How long jobs that failed for good are kept, for somebody to look and retry.',
  }),
  eventsKeptMs: cleanup.given({
    name: 'MBK_EVENTS_KEPT',
    kind: duration({ min: '1h', max: '3650d' }),
    standard: '7d',
    doc: 'How long events are kept that nobody has taken.',
  }),
  idempotencyLifetimeMs: cleanup.given({
    name: 'MBK_IDEMPOTENCY_LIFETIME',
    kind: duration({ min: '1m', max: '365d' }),
    standard: '24h',
    doc: 'How long an upload that is repeated with its `Idempotency-Key` gets the answer of the first.',
  }),
  auditKeptMs: cleanup.optional({
    name: 'MBK_AUDIT_KEPT',
    kind: duration({ min: '1d', max: '36500d' }),
    otherwise: 'for ever',
    doc: 'How long the audit log is kept.',
  }),
  orphanSweep: cleanup.given({
    name: 'MBK_ORPHAN_SWEEP',
    kind: oneOf('off', 'report', 'delete'),
    standard: 'report',
    doc: 'What is done every day about blobs without a row and rows without a blob. `report` tells of them, marks files whose original is lost and renders lost variants again. `delete` also moves blobs without a row into quarantine, and removes them later. `off` looks for none.',
  }),
  orphanGraceMs: cleanup.given({
    name: 'MBK_ORPHAN_GRACE',
    kind: duration({ min: '1s', max: '3650d' }),
    standard: '24h',
    doc: 'How long a blob without a row must have lain unchanged before the sweep takes it for one.',
  }),
  backupWindowMs: cleanup.given({
    name: 'MBK_BACKUP_WINDOW',
    kind: duration({ min: '0s', max: '3650d' }),
    standard: '0s',
    doc: 'Age of the oldest backup of the database that you may want to go back to; added to `MBK_ORPHAN_GRACE`.',
  }),
  quarantineMs: cleanup.given({
    name: 'MBK_QUARANTINE',
    kind: duration({ min: '1s', max: '3650d' }),
    standard: '7d',
    doc: 'How long a blob that the sweep has moved stays in `.quarantine/` before it is removed for good. It goes back by itself when a row names it again.',
  }),
  sweepMaxDeletes: cleanup.given({
    name: 'MBK_SWEEP_MAX_DELETES',
    kind: integer({ min: 1, max: 100_000 }),
    standard: '1000',
    doc: 'Most blobs that one sweep moves into quarantine, and most that it removes from there.',
  }),
  sweepBrakePercent: cleanup.given({
    name: 'MBK_SWEEP_BRAKE',
    kind: integer({ min: 0, max: 100 }),
    standard: '10',
    doc: 'Percent of the blobs seen that may be without a row, or of the rows without a blob. Beyond it, and beyond 100 of them, the sweep reports and does nothing. `100` turns the brake off.',
  }),
  integrityBytesPerDay: cleanup.given({
    name: 'MBK_INTEGRITY_BYTES_PER_DAY',
    kind: byteSize({ min: '0', max: '8000TiB' }),
    standard: '10GiB',
    doc: 'Bytes that are read from the store each day to compare blobs with their size and SHA-256, those first that were read longest ago. `0` reads none.',
  }),

  imagingProcesses: imaging.optional({
    name: 'MBK_IMAGING_PROCESSES',
    kind: integer({ min: 1, max: 256 }),
    otherwise: 'one for each processor core',
    doc: 'Child processes of one worker that decode pictures.',
  }),
  imagingMemoryBytes: imaging.given({
    name: 'MBK_IMAGING_MEMORY',
    kind: byteSize({ min: '128MiB', max: '1TiB' }),
    standard: '1GiB',
    doc: 'A decoding process that grows beyond this is killed.',
  }),
  imagingTimeoutMs: imaging.given({
    name: 'MBK_IMAGING_TIMEOUT',
    kind: duration({ min: '1s', max: '1h' }),
    standard: '60s',
    doc: 'A decoding process that works longer on one picture is killed.',
  }),
  maxPixels: imaging.given({
    name: 'MBK_MAX_PIXELS',
    kind: integer({ min: 1, max: 1_000_000_000 }),
    standard: '50000000',
    doc: 'Most pixels of a picture: width × height × frames. More is refused at the door.',
  }),
  svg: imaging.given({
    name: 'MBK_SVG',
    kind: oneOf('store', 'rasterize'),
    standard: 'store',
    doc: '`store` keeps SVG files as they are and makes no variants of them. `rasterize` makes variants, in the same killable processes as those of pictures; for installations that trust whoever may upload. Set it alike in every process.',
  }),
  ffmpeg: imaging.given({
    name: 'MBK_FFMPEG',
    kind: program(),
    standard: 'auto',
    doc: 'The program that takes a picture out of a video, of which the video’s variants are made. `auto` looks for `ffmpeg` in the folders of `PATH` when a worker starts. Without it videos are kept, and their variants say why they are not made.',
  }),
} satisfies Record<string, Setting<unknown>>;

export type Table = typeof table;
/** Name of a setting inside the program. */
export type SettingKey = keyof Table;
/** What the table's kinds make of the texts; `undefined` where nothing is set and nothing stands in the table. */
export type Values = {
  readonly [K in SettingKey]: Table[K] extends Setting<infer T> ? T : never;
};
