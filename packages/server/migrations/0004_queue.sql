-- Background work. A job moves through three tables: it waits, it runs, it is finished. Moving instead of
-- updating keeps each table as small as its state: nothing that is over is in the way of a claim, what churns
-- is vacuumed alone, and "only while it waits" (dedupe) or "only while it runs" (lease) needs no condition.
CREATE TABLE waiting_jobs (
  id uuid PRIMARY KEY,
  kind text NOT NULL,
  payload jsonb NOT NULL,
  -- Whose share of the work this is; null for the installation itself. No foreign key: a purge outlives its project.
  project_id uuid,
  -- 0 interactive, 1 normal, 2 background.
  lane smallint NOT NULL CHECK (lane BETWEEN 0 AND 2),
  -- Place in the lane: the n-th waiting job of every project stands in the same turn, so that projects
  -- alternate. Null until run_at has come.
  turn bigint,
  run_at timestamptz NOT NULL,
  dedupe_key text,
  -- Attempts begun so far, and how many there may be.
  attempt integer NOT NULL DEFAULT 0,
  max_attempts integer NOT NULL,
  -- Why the last attempt failed.
  error text,
  created_at timestamptz NOT NULL DEFAULT now()
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
-- The claim reads this one from its left end.
CREATE INDEX waiting_jobs_claim ON waiting_jobs (lane, turn) WHERE turn IS NOT NULL;
-- The last turn that a project has in a lane; all jobs of a project.
CREATE INDEX waiting_jobs_share ON waiting_jobs
  (coalesce(project_id, '00000000-0000-0000-0000-000000000000'), lane, turn);
CREATE INDEX waiting_jobs_due ON waiting_jobs (run_at) WHERE turn IS NULL;
-- Of waiting jobs only: a job enqueued while its like is running runs again after it.
CREATE UNIQUE INDEX waiting_jobs_dedupe ON waiting_jobs (kind, dedupe_key) WHERE dedupe_key IS NOT NULL;

-- Jobs under way: as many rows as there are hands.
CREATE TABLE running_jobs (
  id uuid PRIMARY KEY,
  -- Fencing: made anew by each claim. Only who names it may renew, finish or fail the job.
  token uuid NOT NULL,
  -- Name of the process, for people.
  holder text NOT NULL,
  -- Renewed every third of the lease; past it anybody may take the job over.
  lease_until timestamptz NOT NULL,
  claimed_at timestamptz NOT NULL DEFAULT now(),
  kind text NOT NULL,
  payload jsonb NOT NULL,
  project_id uuid,
  lane smallint NOT NULL,
  dedupe_key text,
  attempt integer NOT NULL,
  max_attempts integer NOT NULL,
  error text,
  created_at timestamptz NOT NULL
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

-- Running jobs that shall stop. A table of its own, so that cancelling never waits for a running job's row.
CREATE TABLE cancelled_jobs (
  id uuid PRIMARY KEY,
  created_at timestamptz NOT NULL DEFAULT now()
);

-- What came of them. `merged`: a retry met a newcomer with the same dedupe key, which does its work.
CREATE TABLE finished_jobs (
  id uuid PRIMARY KEY,
  kind text NOT NULL,
  state text NOT NULL CHECK (state IN ('done', 'dead', 'cancelled', 'merged')),
  -- Kept for dead letters, which can be retried.
  payload jsonb,
  project_id uuid,
  lane smallint NOT NULL,
  dedupe_key text,
  attempt integer NOT NULL,
  error text,
  created_at timestamptz NOT NULL,
  finished_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX finished_jobs_dead ON finished_jobs (id DESC) WHERE state = 'dead';
CREATE INDEX finished_jobs_dead_of_project ON finished_jobs (project_id, id DESC) WHERE state = 'dead';
-- Rows arrive in this order, so block ranges suffice to find the old ones.
CREATE INDEX finished_jobs_age ON finished_jobs USING brin (finished_at) WITH (pages_per_range = 32);

-- When each line of the timetable is due next.
CREATE TABLE timetable (
  name text PRIMARY KEY,
  cron text NOT NULL,
  next_run_at timestamptz NOT NULL,
  last_run_at timestamptz
);
