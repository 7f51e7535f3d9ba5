-- Audits of the store against the rows. One goes on at a time, whoever runs it, and a later process continues it.
CREATE TABLE sweeps (
  id uuid PRIMARY KEY,
  -- dry-run changes nothing; report mends rows and what earlier sweeps moved; delete also moves and removes blobs.
  mode text NOT NULL CHECK (mode IN ('dry-run', 'report', 'delete')),
  -- Only keys of this project; null: the whole store.
  project_id uuid,
  status text NOT NULL DEFAULT 'scanning' CHECK (status IN ('scanning', 'cleaning', 'finished', 'failed', 'abandoned')),
  -- The last key that was judged.
  position text COLLATE "C" NOT NULL DEFAULT '',
  -- Whose it is and until when unless renewed; the token fences those out who held it before.
  holder uuid NOT NULL,
  token uuid NOT NULL,
  held_until timestamptz NOT NULL,
  blobs_seen bigint NOT NULL DEFAULT 0,
  bytes_seen bigint NOT NULL DEFAULT 0,
  rows_seen bigint NOT NULL DEFAULT 0,
  orphans bigint NOT NULL DEFAULT 0,
  orphan_bytes bigint NOT NULL DEFAULT 0,
  missing bigint NOT NULL DEFAULT 0,
  foreign_objects bigint NOT NULL DEFAULT 0,
  unfinished_puts bigint NOT NULL DEFAULT 0,
  quarantined bigint NOT NULL DEFAULT 0,
  dropped_puts bigint NOT NULL DEFAULT 0,
  restored bigint NOT NULL DEFAULT 0,
  removed bigint NOT NULL DEFAULT 0,
  mended bigint NOT NULL DEFAULT 0,
  -- Findings that were none when they were looked at again.
  vanished bigint NOT NULL DEFAULT 0,
  failures bigint NOT NULL DEFAULT 0,
  -- Why nothing was cleaned although it was to be, or why the sweep failed; a sentence for a person.
  refusal text,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  finished_at timestamptz
);
CREATE UNIQUE INDEX sweeps_one ON sweeps ((true)) WHERE finished_at IS NULL;
CREATE INDEX sweeps_last ON sweeps (finished_at DESC) WHERE finished_at IS NOT NULL;

-- What the last sweeps found, up to a bound for each kind; the counters above count all.
CREATE TABLE sweep_findings (
  sweep_id uuid NOT NULL REFERENCES sweeps ON DELETE CASCADE,
  kind text NOT NULL CHECK (kind IN ('orphan', 'missing', 'foreign', 'unfinished')),
  key text COLLATE "C" NOT NULL,
  -- Of an unfinished put in parts; else empty.
  upload_id text NOT NULL DEFAULT '',
  project_id uuid,
  file_id uuid,
  variant text,
  size bigint,
  modified_at timestamptz,
  why text NOT NULL,
  -- What was done about it; null: nothing yet.
  outcome text CHECK (outcome IN ('quarantined', 'dropped', 'mended', 'marked', 'gone', 'failed')),
  detail text,
  PRIMARY KEY (sweep_id, kind, key, upload_id)
);

-- Blobs without a row, moved to .quarantine/{key}. The row is committed before the move begins.
CREATE TABLE quarantined_blobs (
  key text COLLATE "C" PRIMARY KEY,
  project_id uuid,
  size bigint NOT NULL,
  modified_at timestamptz,
  quarantined_at timestamptz NOT NULL DEFAULT now(),
  -- When the move was complete; null: it is under way, or was broken off.
  moved_at timestamptz,
  last_error text
);
CREATE INDEX quarantined_blobs_due ON quarantined_blobs (moved_at);

-- When the bytes were last compared with the row; never when null.
ALTER TABLE files ADD COLUMN integrity_checked_at timestamptz;
ALTER TABLE variants
  ADD COLUMN integrity text NOT NULL DEFAULT 'unchecked' CHECK (integrity IN ('unchecked', 'ok', 'missing', 'corrupt')),
  ADD COLUMN integrity_checked_at timestamptz;
CREATE INDEX files_integrity_due ON files (integrity_checked_at NULLS FIRST, id)
  WHERE status IN ('processing', 'ready', 'failed');
CREATE INDEX variants_integrity_due ON variants (integrity_checked_at NULLS FIRST, file_id, name)
  WHERE s3_key IS NOT NULL AND sha256 IS NOT NULL;
CREATE INDEX files_damaged ON files (integrity) WHERE integrity IN ('missing', 'corrupt');

-- What was found out about bytes says nothing about those that replace them.
CREATE FUNCTION forget_integrity() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.integrity := 'unchecked';
  NEW.integrity_checked_at := NULL;
  RETURN NEW;
END $$;
CREATE TRIGGER files_other_bytes BEFORE UPDATE ON files FOR EACH ROW
  WHEN (OLD.s3_key IS DISTINCT FROM NEW.s3_key) EXECUTE FUNCTION forget_integrity();
CREATE TRIGGER variants_other_bytes BEFORE UPDATE ON variants FOR EACH ROW
  WHEN (OLD.s3_key IS DISTINCT FROM NEW.s3_key) EXECUTE FUNCTION forget_integrity();

-- What the integrity check has read on each day (UTC), against its budget.
CREATE TABLE integrity_days (
  day date PRIMARY KEY,
  bytes bigint NOT NULL DEFAULT 0,
  blobs bigint NOT NULL DEFAULT 0
);
