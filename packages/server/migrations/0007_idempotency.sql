-- What uploads under an Idempotency-Key have brought, so that a retry after a lost answer finds it.
CREATE TABLE upload_keys (
  project_id uuid NOT NULL REFERENCES projects ON DELETE CASCADE,
  key text COLLATE "C" NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
  -- The one request that may complete it: who takes a dead request's key over writes its own attempt.
  attempt uuid NOT NULL,
  state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'done')),
  -- Over the names and the SHA-256 of the files, in their order.
  digest bytea CHECK (length(digest) = 32),
  file_ids uuid[],
  -- Renewed while the request is under way; silence for MBK_UPLOAD_STALE frees the key. When done: when it was.
  heartbeat_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (project_id, key),
  CONSTRAINT upload_keys_done CHECK (state = 'active' OR (digest IS NOT NULL AND file_ids IS NOT NULL))
);
CREATE INDEX upload_keys_attempt ON upload_keys (attempt) WHERE state = 'active';
CREATE INDEX upload_keys_age ON upload_keys (heartbeat_at);
