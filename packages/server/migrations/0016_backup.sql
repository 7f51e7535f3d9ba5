-- While one of these is in force no blob is deleted: a backup is being made of what the rows name.
CREATE TABLE blob_holds (
  id uuid PRIMARY KEY,
  -- Renewed by the process that holds it; a process that died lets go by itself.
  until timestamptz NOT NULL
);

-- Set when a backup is restored: the store may hold what the restored rows do not know, or name blobs that the
-- restored rows hold and later ones had buried. Nothing is deleted until a person says that all is well.
ALTER TABLE installation ADD COLUMN deletions_paused_at timestamptz;
