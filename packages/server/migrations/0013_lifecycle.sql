-- Originals in the trash, of those that original_bytes counts.
ALTER TABLE project_usage ADD COLUMN trash_bytes bigint NOT NULL DEFAULT 0 CHECK (trash_bytes >= 0);
UPDATE project_usage AS usage SET trash_bytes = trash.bytes
  FROM (SELECT project_id, coalesce(sum(size), 0) AS bytes FROM files
    WHERE deleted_at IS NOT NULL AND status IN ('processing', 'ready', 'failed') GROUP BY project_id) AS trash
  WHERE trash.project_id = usage.project_id;

-- Page of the trash, and what has been in it for long.
CREATE INDEX files_trash ON files (project_id, id DESC) WHERE deleted_at IS NOT NULL;
CREATE INDEX files_trash_age ON files (deleted_at) WHERE deleted_at IS NOT NULL;
CREATE INDEX projects_trash_age ON projects (deleted_at) WHERE deleted_at IS NOT NULL;

-- A project that is being removed with everything it holds; it cannot be restored any more.
ALTER TABLE projects ADD COLUMN purged_at timestamptz;

-- Deletions of many files at once.
CREATE TABLE deletions (
  id uuid PRIMARY KEY,
  project_id uuid NOT NULL REFERENCES projects ON DELETE CASCADE,
  -- Given by id, or by what a list of files can be filtered by.
  file_ids uuid[],
  filter jsonb,
  permanent boolean NOT NULL,
  status text NOT NULL DEFAULT 'running' CHECK (status IN ('running', 'completed', 'cancelled', 'failed')),
  -- Files that come after the order are none of its business.
  before_id uuid NOT NULL,
  after_id uuid,
  files_total integer,
  files_deleted integer NOT NULL DEFAULT 0,
  -- Of those given by id: the ones that were not there.
  not_found uuid[] NOT NULL DEFAULT '{}',
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  finished_at timestamptz,
  CONSTRAINT deletions_what CHECK ((file_ids IS NULL) <> (filter IS NULL))
);
CREATE INDEX deletions_page ON deletions (project_id, id DESC);

-- What has happened, written in the transaction that makes it so. No foreign keys: it outlives what it tells of.
CREATE TABLE events (
  id uuid PRIMARY KEY,
  project_id uuid NOT NULL,
  type text NOT NULL,
  subject_id uuid NOT NULL,
  data jsonb NOT NULL DEFAULT '{}',
  created_at timestamptz NOT NULL DEFAULT now(),
  -- When everybody who wanted to know had been told.
  delivered_at timestamptz
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 2000);
CREATE INDEX events_of_project ON events (project_id, id DESC);
-- Rows arrive in this order, so block ranges suffice to find the old ones.
CREATE INDEX events_age ON events USING brin (created_at) WITH (pages_per_range = 32);

-- What the lines of the timetable have done, for whoever watches.
CREATE TABLE cleanup_runs (
  name text PRIMARY KEY,
  runs bigint NOT NULL DEFAULT 0,
  failures bigint NOT NULL DEFAULT 0,
  -- Things removed, repaired or found, by what they are.
  counts jsonb NOT NULL DEFAULT '{}',
  last_run_at timestamptz,
  last_seconds double precision,
  last_error text
);
