-- The beginning of a media type (image/*) is found by the index whatever the database's collation.
DROP INDEX files_type_page;
CREATE INDEX files_type_page ON files (project_id, mime_type text_pattern_ops, id DESC) WHERE deleted_at IS NULL;

-- A project that is removed is worked through whatever the state of its files, beside any number of others.
CREATE INDEX files_project ON files (project_id, id);

-- The rows of deleted people go; what they made stays, and must be found without reading every row.
CREATE INDEX files_by_user ON files (created_by_user) WHERE created_by_user IS NOT NULL;
