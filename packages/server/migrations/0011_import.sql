-- Files that the server fetches from URLs in the background.
CREATE TABLE imports (
  id uuid PRIMARY KEY,
  project_id uuid NOT NULL REFERENCES projects ON DELETE CASCADE,
  -- waiting: for a worker, or for the next attempt.
  status text NOT NULL DEFAULT 'waiting' CHECK (status IN ('waiting', 'running', 'completed', 'failed')),
  -- What is fetched, with any secrets of its query; forgotten when the import ends.
  url text,
  -- As it is shown: without query and fragment.
  shown_url text NOT NULL,
  -- As the client wants the file called; else the source says.
  filename text,
  -- Promised by the client; verified before the file exists.
  sha256 bytea CHECK (length(sha256) = 32),
  metadata jsonb NOT NULL DEFAULT '{}',
  received_bytes bigint NOT NULL DEFAULT 0 CHECK (received_bytes >= 0),
  -- As the source promises; null while unknown.
  total_bytes bigint CHECK (total_bytes >= 0),
  -- Made anew by each attempt: only who names it may write here.
  attempt uuid,
  -- What became of it. No foreign key: the file may be purged.
  file_id uuid,
  -- Code of the problem and its sentence; of the last attempt while another one is to come.
  failure_code text,
  failure text,
  idempotency_key text COLLATE "C" CHECK (length(idempotency_key) BETWEEN 1 AND 255),
  -- Over what the client asked for under that key.
  request_digest bytea CHECK (length(request_digest) = 32),
  created_by_user uuid REFERENCES users ON DELETE SET NULL,
  created_by_key uuid REFERENCES api_keys ON DELETE SET NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT imports_ended CHECK ((status IN ('completed', 'failed')) = (url IS NULL)),
  CONSTRAINT imports_completed CHECK (status <> 'completed' OR file_id IS NOT NULL),
  CONSTRAINT imports_failed CHECK (status <> 'failed' OR (failure_code IS NOT NULL AND failure IS NOT NULL)),
  CONSTRAINT imports_keyed CHECK ((idempotency_key IS NULL) = (request_digest IS NULL))
);
CREATE INDEX imports_page ON imports (project_id, id DESC);
CREATE UNIQUE INDEX imports_key ON imports (project_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX imports_unfinished ON imports (project_id, updated_at) WHERE status IN ('waiting', 'running');
CREATE INDEX imports_age ON imports (updated_at);
