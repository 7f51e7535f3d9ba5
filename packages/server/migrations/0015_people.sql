-- Who else works in a project. Its owner stands in the project's own row and nowhere else.
CREATE TABLE project_members (
  project_id uuid NOT NULL REFERENCES projects ON DELETE CASCADE,
  user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
  role text NOT NULL CHECK (role IN ('editor', 'viewer')),
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (project_id, user_id)
);
CREATE INDEX project_members_user ON project_members (user_id, project_id);

-- Links that make whoever follows them first a member. Only the SHA-256 of the link's secret stays.
CREATE TABLE project_invitations (
  id uuid PRIMARY KEY,
  project_id uuid NOT NULL REFERENCES projects ON DELETE CASCADE,
  role text NOT NULL CHECK (role IN ('editor', 'viewer')),
  hash bytea NOT NULL UNIQUE,
  created_by uuid REFERENCES users ON DELETE SET NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz NOT NULL,
  used_at timestamptz
);
CREATE INDEX project_invitations_page ON project_invitations (project_id, id DESC) WHERE used_at IS NULL;

ALTER TABLE users
  ADD COLUMN email_verified_at timestamptz,
  -- The second factor: its secret, since when it counts, and the last time step that was used up.
  ADD COLUMN totp_secret bytea,
  ADD COLUMN totp_since timestamptz,
  ADD COLUMN totp_last_step bigint,
  -- SHA-256 of codes that each stand in for the second factor once.
  ADD COLUMN recovery_hashes bytea[] NOT NULL DEFAULT '{}';

-- Links of accounts that work once: to join, to choose a new password, to prove an address.
CREATE TABLE account_links (
  id uuid PRIMARY KEY,
  kind text NOT NULL CHECK (kind IN ('invitation', 'password-reset', 'email-verification')),
  hash bytea NOT NULL UNIQUE,
  -- Whose account it is about; null for an invitation.
  user_id uuid REFERENCES users ON DELETE CASCADE,
  -- The address that is proved, or the only one that may join, in canonical form; and as it was written.
  email_canonical text,
  email text,
  -- What the invited person becomes.
  role text CHECK (role IN ('admin', 'user')),
  created_by uuid REFERENCES users ON DELETE SET NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz NOT NULL,
  used_at timestamptz,
  CONSTRAINT account_links_subject CHECK ((kind = 'invitation') = (user_id IS NULL)),
  CONSTRAINT account_links_role CHECK ((kind = 'invitation') = (role IS NOT NULL)),
  CONSTRAINT account_links_email CHECK (kind <> 'email-verification' OR email_canonical IS NOT NULL)
);
CREATE INDEX account_links_user ON account_links (user_id, kind) WHERE used_at IS NULL;
CREATE INDEX account_links_invitations ON account_links (id DESC) WHERE kind = 'invitation' AND used_at IS NULL;
CREATE INDEX account_links_expiry ON account_links (expires_at);

-- Rules of keys. Null: no limit, or anything and anywhere.
ALTER TABLE api_keys
  ADD COLUMN disabled_at timestamptz,
  ADD COLUMN allowed_origins text[],
  ADD COLUMN allowed_addresses text[],
  ADD COLUMN max_file_bytes bigint CHECK (max_file_bytes > 0),
  ADD COLUMN max_files bigint CHECK (max_files > 0),
  ADD COLUMN allowed_types text[],
  ADD COLUMN last_used_address text,
  -- The key that was in force before the last rotation, as long as both work.
  ADD COLUMN previous_hash bytea UNIQUE,
  ADD COLUMN previous_until timestamptz,
  ADD CONSTRAINT api_keys_overlap CHECK ((previous_hash IS NULL) = (previous_until IS NULL));
CREATE INDEX files_by_key ON files (created_by_key) WHERE created_by_key IS NOT NULL;
CREATE INDEX uploads_by_key ON uploads (created_by_key) WHERE created_by_key IS NOT NULL;

-- API processes remember for a second who may come in. They are told when it changes.
CREATE FUNCTION notify_access() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('mediablobkit_access', CASE TG_TABLE_NAME
    WHEN 'sessions' THEN 'session ' || (to_jsonb(OLD) ->> 'id')
    WHEN 'api_keys' THEN 'key ' || (to_jsonb(OLD) ->> 'id')
    WHEN 'project_members' THEN 'members ' || (to_jsonb(OLD) ->> 'project_id')
    ELSE 'user ' || (to_jsonb(OLD) ->> 'id') END);
  RETURN NULL;
END $$;
CREATE TRIGGER users_access AFTER UPDATE ON users FOR EACH ROW
  WHEN ((OLD.disabled_at, OLD.deleted_at, OLD.role) IS DISTINCT FROM (NEW.disabled_at, NEW.deleted_at, NEW.role))
  EXECUTE FUNCTION notify_access();
CREATE TRIGGER sessions_access AFTER UPDATE ON sessions FOR EACH ROW
  WHEN (OLD.revoked_at IS DISTINCT FROM NEW.revoked_at)
  EXECUTE FUNCTION notify_access();
CREATE TRIGGER api_keys_access AFTER UPDATE ON api_keys FOR EACH ROW
  WHEN ((OLD.hash, OLD.scopes, OLD.expires_at, OLD.revoked_at, OLD.disabled_at, OLD.allowed_origins, OLD.allowed_addresses,
      OLD.previous_hash, OLD.previous_until)
    IS DISTINCT FROM (NEW.hash, NEW.scopes, NEW.expires_at, NEW.revoked_at, NEW.disabled_at, NEW.allowed_origins,
      NEW.allowed_addresses, NEW.previous_hash, NEW.previous_until))
  EXECUTE FUNCTION notify_access();
CREATE TRIGGER members_access AFTER UPDATE OR DELETE ON project_members FOR EACH ROW EXECUTE FUNCTION notify_access();

-- Who did what to what, from where and with which credential. No foreign keys: it outlives what it speaks of.
CREATE TABLE audit_log (
  id uuid PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  -- Null: of the server, not of a project.
  project_id uuid,
  actor_kind text NOT NULL CHECK (actor_kind IN ('nobody', 'user', 'key', 'link', 'operator')),
  -- The person, or the key.
  actor_id uuid,
  -- The session of a person.
  session_id uuid,
  -- operationId of the API, or the name of a command.
  action text NOT NULL,
  -- What it was done to: kind and id.
  target_kind text,
  target_id text,
  -- HTTP status of the answer; null for commands.
  status integer,
  address text,
  user_agent text,
  request_id text
);
CREATE INDEX audit_log_project ON audit_log (project_id, id DESC);
CREATE INDEX audit_log_page ON audit_log (id DESC);

-- Append-only. What passes its retention may go, and only in a transaction that says so.
CREATE FUNCTION audit_log_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' AND current_setting('mediablobkit.audit_retention', true) = 'on' THEN
    RETURN NULL;
  END IF;
  RAISE EXCEPTION 'the audit log is append-only';
END $$;
CREATE TRIGGER audit_log_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
  FOR EACH STATEMENT EXECUTE FUNCTION audit_log_is_kept();

-- Counters of rate limits. Unlogged: after a crash of the database everybody begins anew.
CREATE UNLOGGED TABLE rate_limits (
  key text PRIMARY KEY,
  points integer NOT NULL DEFAULT 0,
  expire bigint
);
CREATE INDEX rate_limits_expiry ON rate_limits (expire);
