-- What stays in view when a picture is cut, as parts of width and height from the top left of the upright picture.
ALTER TABLE files
  ADD COLUMN focal_x double precision CHECK (focal_x BETWEEN 0 AND 1),
  ADD COLUMN focal_y double precision CHECK (focal_y BETWEEN 0 AND 1),
  ADD CONSTRAINT files_focal_point CHECK ((focal_x IS NULL) = (focal_y IS NULL)),
  -- Highest generation among the variants of this file whose rows are gone: a row made later begins behind it, since
  -- keys are never reused.
  ADD COLUMN collected_generation integer NOT NULL DEFAULT 0;

-- A variant whose format is negotiated has a row for each format: `medium.avif` beside `medium.webp`.
ALTER TABLE variants DROP CONSTRAINT variants_name_check;
ALTER TABLE variants
  ADD CONSTRAINT variants_name_check CHECK (
    name ~ '^[a-z][a-z0-9-]{0,31}(\.(jpeg|png|webp|avif|gif))?$' AND split_part(name, '.', 1) <> 'files'),
  -- Digest of the recipe that was last wanted; another one than that of the bytes makes the row stale, and a job for
  -- another one has been overtaken. Null: whatever a job says.
  ADD COLUMN wanted_digest text,
  -- Digest of the recipe that the picture could not be made with, while older bytes are still served.
  ADD COLUMN refused_digest text,
  -- Of a transformation that somebody asked for by URL: when it is removed unless it is asked for again.
  ADD COLUMN expires_at timestamptz;
CREATE INDEX variants_expiring ON variants (expires_at) WHERE expires_at IS NOT NULL;

-- Names that a project's settings no longer say; their variants are served until the grace period is over.
CREATE TABLE removed_variants (
  project_id uuid NOT NULL REFERENCES projects ON DELETE CASCADE,
  name text NOT NULL,
  removed_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (project_id, name)
);
CREATE INDEX removed_variants_due ON removed_variants (removed_at);

-- Walks over a project's files that have variants made anew.
CREATE TABLE regenerations (
  id uuid PRIMARY KEY,
  project_id uuid NOT NULL REFERENCES projects ON DELETE CASCADE,
  -- Which variants of a file: those with another recipe than the settings', every one, those without bytes, failed ones.
  which text NOT NULL CHECK (which IN ('stale', 'all', 'missing', 'failed')),
  -- Names in the settings; null: all of them.
  names text[],
  -- Null: every file of the project.
  file_ids uuid[],
  -- Ordered by a change of settings or by a request.
  reason text NOT NULL CHECK (reason IN ('settings', 'request')),
  status text NOT NULL DEFAULT 'running' CHECK (status IN ('running', 'completed', 'cancelled', 'failed')),
  -- Where the walk is: the last file looked at. A walk for stale variants is repeated until it finds none.
  after_id uuid,
  pass integer NOT NULL DEFAULT 1,
  planned_in_pass integer NOT NULL DEFAULT 0,
  files_total integer,
  files_seen integer NOT NULL DEFAULT 0,
  variants_planned integer NOT NULL DEFAULT 0,
  jobs_open integer NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  finished_at timestamptz
);
CREATE INDEX regenerations_page ON regenerations (project_id, id DESC);

-- What is delivered depends on the focal point too.
DROP TRIGGER files_changed ON files;
CREATE TRIGGER files_changed AFTER UPDATE ON files FOR EACH ROW
  WHEN (OLD.status IN ('processing', 'ready', 'failed') AND OLD.deleted_at IS NULL AND
    (OLD.deleted_at, OLD.s3_key, OLD.filename, OLD.mime_type, OLD.generation, OLD.visibility, OLD.project_id, OLD.thumbhash,
      OLD.focal_x, OLD.focal_y, OLD.frames)
    IS DISTINCT FROM
    (NEW.deleted_at, NEW.s3_key, NEW.filename, NEW.mime_type, NEW.generation, NEW.visibility, NEW.project_id, NEW.thumbhash,
      NEW.focal_x, NEW.focal_y, NEW.frames))
  EXECUTE FUNCTION notify_delivery();
