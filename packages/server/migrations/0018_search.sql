-- Files are found by a part of their name. Trigrams answer that at any size; where the database has no such extension, or
-- the role may not create it, names are found by their beginning instead, and `mediablobkit doctor` says so.
DO $$
BEGIN
  CREATE EXTENSION IF NOT EXISTS pg_trgm;
  CREATE EXTENSION IF NOT EXISTS btree_gin;
  CREATE INDEX files_name_search ON files USING gin (project_id, filename gin_trgm_ops);
EXCEPTION WHEN insufficient_privilege OR feature_not_supported OR undefined_file OR undefined_object THEN
  CREATE INDEX files_name_prefix ON files (project_id, lower(filename) text_pattern_ops, id DESC);
END $$;
