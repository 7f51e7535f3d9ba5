-- Uploads that take several requests: direct to the store, or resumable. A row is committed before the first byte
-- goes to the store, and names every key that the upload may write there.
CREATE TABLE uploads (
  id uuid PRIMARY KEY,
  project_id uuid NOT NULL REFERENCES projects,
  protocol text NOT NULL CHECK (protocol IN ('direct', 'tus')),
  -- open: bytes arrive. completing: they are being verified. completed: the file exists. failed: refused at the end.
  status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'completing', 'completed', 'failed')),
  filename text NOT NULL,
  declared_type text,
  -- As declared; null while a resumable upload has not said.
  size bigint CHECK (size >= 0),
  -- Promised by the client; verified before the file exists.
  sha256 bytea CHECK (length(sha256) = 32),
  -- Becomes the file's metadata.
  metadata jsonb NOT NULL DEFAULT '{}',
  -- Upload-Metadata as it came (tus).
  upload_metadata text,
  -- Bytes that are safely in the store (resumable uploads).
  received_bytes bigint NOT NULL DEFAULT 0 CHECK (received_bytes >= 0),
  -- Where the bytes are kept until the file exists; never reused. A resumable upload's is the file's own key once its
  -- type is known.
  staging_key text COLLATE "C" NOT NULL UNIQUE,
  -- Detected from the first bytes, and dimensions when the header told them; null before (resumable uploads).
  mime_type text,
  width integer,
  height integer,
  -- The store's id of a put in parts under staging_key, and the size of its parts.
  multipart_id text,
  part_bytes bigint CHECK (part_bytes > 0),
  -- Bytes behind the last whole part wait in a blob of their own (resumable uploads): the one that counts, the one
  -- that is being written, and how many there have been.
  tail_key text COLLATE "C" UNIQUE,
  next_tail_key text COLLATE "C" UNIQUE,
  tail_number integer NOT NULL DEFAULT 0,
  -- Bytes this upload holds of the project's quota, as files.reserved_bytes; it also holds the place of one file.
  reserved_bytes bigint NOT NULL DEFAULT 0 CHECK (reserved_bytes >= 0),
  -- The id that the file gets; the row in files appears when the bytes are complete.
  file_id uuid NOT NULL UNIQUE,
  -- Why it failed: code of the problem and its sentence.
  failure_code text,
  failure text,
  -- Exclusive use of a resumable upload by one request: who, until when unless renewed, and who else wants it.
  lock_holder uuid,
  lock_until timestamptz,
  lock_wanted uuid,
  created_by_user uuid REFERENCES users ON DELETE SET NULL,
  created_by_key uuid REFERENCES api_keys ON DELETE SET NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  -- From here MBK_UPLOAD_EXPIRY counts: the last byte received, or the expiry of the last signed URL.
  active_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX uploads_page ON uploads (project_id, id DESC);
CREATE INDEX uploads_age ON uploads (active_at);
CREATE INDEX uploads_multipart ON uploads (active_at) WHERE multipart_id IS NOT NULL AND status IN ('completed', 'failed');

-- The parts of a resumable upload that are in the store.
CREATE TABLE upload_parts (
  upload_id uuid NOT NULL REFERENCES uploads ON DELETE CASCADE,
  number integer NOT NULL CHECK (number BETWEEN 1 AND 10000),
  size bigint NOT NULL CHECK (size > 0),
  etag text NOT NULL,
  PRIMARY KEY (upload_id, number)
);
