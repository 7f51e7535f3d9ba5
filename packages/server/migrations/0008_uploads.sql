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
  -- The client's own (tus: Upload-Metadata as it came).
  metadata jsonb NOT NULL DEFAULT '{}',
  -- Bytes that are safely in the store (resumable uploads).
  received_bytes bigint NOT NULL DEFAULT 0 CHECK (received_bytes >= 0),
  -- Where the bytes are kept until the file exists; never reused.
  staging_key text COLLATE "C" NOT NULL UNIQUE,
  -- The store's id of a put in parts under staging_key, the size of its parts, and the parts that are there.
  multipart_id text,
  part_bytes bigint CHECK (part_bytes > 0),
  parts jsonb NOT NULL DEFAULT '[]',
  -- Bytes behind the last whole part wait in a blob of their own (resumable uploads).
  tail_key text COLLATE "C" UNIQUE,
  -- Bytes this upload holds of the project's quota, as files.reserved_bytes; it also holds the place of one file.
  reserved_bytes bigint NOT NULL DEFAULT 0 CHECK (reserved_bytes >= 0),
  -- The id that the file gets; the row in files appears when the bytes are complete.
  file_id uuid NOT NULL UNIQUE,
  -- Why it failed: code of the problem and its sentence.
  failure_code text,
  failure text,
  -- Exclusive use of a resumable upload by one request: who, and until when unless renewed.
  lock_holder uuid,
  lock_until timestamptz,
  created_by_user uuid REFERENCES users ON DELETE SET NULL,
  created_by_key uuid REFERENCES api_keys ON DELETE SET NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  -- From here MBK_UPLOAD_EXPIRY counts: the last byte received, or the expiry of the last signed URL.
  active_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX uploads_page ON uploads (project_id, id DESC);
CREATE INDEX uploads_age ON uploads (active_at);
