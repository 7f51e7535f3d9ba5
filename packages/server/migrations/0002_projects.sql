-- Tenants. Settings are validated in one place (features/projects/settings.ts) before they get here.
CREATE TABLE projects (
  id uuid PRIMARY KEY,
  owner_id uuid NOT NULL REFERENCES users,
  name text NOT NULL,
  settings jsonb NOT NULL,
  -- Counts the changes of the row; its ETag.
  version integer NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  deleted_at timestamptz
);
CREATE INDEX projects_owner ON projects (owner_id, id);

-- The quota counter. Its own narrow table, so that counting never rewrites settings.
-- used: acknowledged originals (trash included) and ready variants; reserved: uploads under way.
CREATE TABLE project_usage (
  project_id uuid PRIMARY KEY REFERENCES projects ON DELETE CASCADE,
  original_bytes bigint NOT NULL DEFAULT 0 CHECK (original_bytes >= 0),
  variant_bytes bigint NOT NULL DEFAULT 0 CHECK (variant_bytes >= 0),
  reserved_bytes bigint NOT NULL DEFAULT 0 CHECK (reserved_bytes >= 0),
  file_count bigint NOT NULL DEFAULT 0 CHECK (file_count >= 0),
  reserved_files bigint NOT NULL DEFAULT 0 CHECK (reserved_files >= 0)
) WITH (fillfactor = 50);
