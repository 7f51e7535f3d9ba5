-- The ledger of what is held. A row is committed with its key before the first byte goes to the store.
CREATE TABLE files (
  id uuid PRIMARY KEY,
  project_id uuid NOT NULL REFERENCES projects,
  -- {projectId}/files/{fileId}.{ext}; byte order, as object stores list.
  s3_key text COLLATE "C" NOT NULL UNIQUE,
  filename text NOT NULL,
  -- Detected from the bytes; what the client said is kept beside it for support.
  mime_type text NOT NULL,
  declared_type text,
  size bigint CHECK (size >= 0),
  sha256 bytea CHECK (length(sha256) = 32),
  status text NOT NULL CHECK (status IN ('uploading', 'verifying', 'processing', 'ready', 'failed', 'aborted')),
  -- Why processing failed, as a sentence for a person.
  failure text,
  -- Dimensions after orientation; null for what is no picture.
  width integer,
  height integer,
  frames integer,
  has_alpha boolean,
  thumbhash bytea,
  dominant_color text,
  exif jsonb,
  metadata jsonb NOT NULL DEFAULT '{}',
  -- Counts the contents of the file; the `v` of versioned links.
  generation integer NOT NULL DEFAULT 1,
  -- Counts the changes of the row; its ETag.
  version integer NOT NULL DEFAULT 1,
  integrity text NOT NULL DEFAULT 'unchecked' CHECK (integrity IN ('unchecked', 'ok', 'missing', 'corrupt')),
  -- Bytes this upload holds of the project's quota while it is under way.
  reserved_bytes bigint NOT NULL DEFAULT 0 CHECK (reserved_bytes >= 0),
  -- Renewed while bytes arrive; silence for MBK_UPLOAD_STALE makes the row cleanup's.
  heartbeat_at timestamptz NOT NULL DEFAULT now(),
  created_by_user uuid REFERENCES users ON DELETE SET NULL,
  created_by_key uuid REFERENCES api_keys ON DELETE SET NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  deleted_at timestamptz,
  CONSTRAINT files_acknowledged CHECK (
    status IN ('uploading', 'verifying', 'aborted') OR (size IS NOT NULL AND sha256 IS NOT NULL AND reserved_bytes = 0)
  )
);
CREATE INDEX files_page ON files (project_id, id DESC) WHERE deleted_at IS NULL;
CREATE INDEX files_status_page ON files (project_id, status, id DESC) WHERE deleted_at IS NULL;
CREATE INDEX files_type_page ON files (project_id, mime_type, id DESC) WHERE deleted_at IS NULL;
CREATE INDEX files_unfinished ON files (heartbeat_at) WHERE status IN ('uploading', 'verifying', 'aborted');

-- Derived images. The row is the lock: a variant is rendered once, however many ask.
CREATE TABLE variants (
  file_id uuid NOT NULL REFERENCES files ON DELETE CASCADE,
  name text NOT NULL CHECK (name ~ '^[a-z][a-z0-9-]{0,31}$' AND name <> 'files'),
  project_id uuid NOT NULL,
  status text NOT NULL CHECK (status IN ('pending', 'rendering', 'ready', 'failed')),
  -- Code of the failure (such as unsupported-codec) and its sentence.
  failure_code text,
  failure text,
  -- The recipe captured at planning time, and its digest to recognise staleness.
  recipe jsonb NOT NULL,
  recipe_digest text NOT NULL,
  -- Made on first request instead of right after the upload.
  lazy boolean NOT NULL DEFAULT false,
  -- Generation of the last key handed to a renderer; keys are never reused.
  generation integer NOT NULL DEFAULT 0,
  -- The key that counts, and the key an attempt under way writes; the latter is committed before the put.
  s3_key text COLLATE "C" UNIQUE,
  pending_key text COLLATE "C" UNIQUE,
  mime_type text,
  width integer,
  height integer,
  size bigint CHECK (size >= 0),
  sha256 bytea CHECK (length(sha256) = 32),
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (file_id, name),
  CONSTRAINT variants_ready CHECK (
    status <> 'ready' OR (s3_key IS NOT NULL AND size IS NOT NULL AND sha256 IS NOT NULL AND mime_type IS NOT NULL)
  )
);
CREATE INDEX variants_project ON variants (project_id, name);
CREATE INDEX variants_unfinished ON variants (updated_at) WHERE status IN ('pending', 'rendering');

-- Keys whose blobs must go: written in the transaction that makes them worthless, removed only after the
-- store has confirmed. Before each deletion the key is looked up again among the live rows.
CREATE TABLE tombstones (
  key text COLLATE "C" PRIMARY KEY,
  project_id uuid NOT NULL,
  reason text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  not_before timestamptz NOT NULL DEFAULT now(),
  -- When somebody may still be writing the key, the deletion runs once more after this moment.
  again_after timestamptz,
  attempts integer NOT NULL DEFAULT 0,
  last_error text
);
CREATE INDEX tombstones_due ON tombstones (not_before);
