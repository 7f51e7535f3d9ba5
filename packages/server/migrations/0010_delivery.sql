-- Whether the bytes of a file are for everybody; null: as its project says.
ALTER TABLE files ADD COLUMN visibility text CHECK (visibility IN ('public', 'private'));

-- API processes remember for a second what the delivery of bytes needs to know. They are told when it changes: only of
-- rows that others can see, and only of what an answer depends on; never of heartbeats or uploads under way.
CREATE FUNCTION notify_delivery() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  -- By way of JSON: a record has only the columns of its own table.
  PERFORM pg_notify('mediablobkit_delivery', CASE TG_TABLE_NAME
    WHEN 'projects' THEN 'project ' || (to_jsonb(OLD) ->> 'id')
    WHEN 'files' THEN 'file ' || (to_jsonb(OLD) ->> 'id')
    ELSE 'file ' || (to_jsonb(OLD) ->> 'file_id') END);
  RETURN NULL;
END $$;

CREATE TRIGGER files_changed AFTER UPDATE ON files FOR EACH ROW
  WHEN (OLD.status IN ('processing', 'ready', 'failed') AND OLD.deleted_at IS NULL AND
    (OLD.deleted_at, OLD.s3_key, OLD.filename, OLD.mime_type, OLD.generation, OLD.visibility, OLD.project_id, OLD.thumbhash)
    IS DISTINCT FROM
    (NEW.deleted_at, NEW.s3_key, NEW.filename, NEW.mime_type, NEW.generation, NEW.visibility, NEW.project_id, NEW.thumbhash))
  EXECUTE FUNCTION notify_delivery();
CREATE TRIGGER files_removed AFTER DELETE ON files FOR EACH ROW
  WHEN (OLD.status IN ('processing', 'ready', 'failed') AND OLD.deleted_at IS NULL)
  EXECUTE FUNCTION notify_delivery();
CREATE TRIGGER variants_changed AFTER UPDATE ON variants FOR EACH ROW
  WHEN ((OLD.s3_key, OLD.recipe_digest, OLD.status = 'ready', OLD.status = 'failed')
    IS DISTINCT FROM (NEW.s3_key, NEW.recipe_digest, NEW.status = 'ready', NEW.status = 'failed'))
  EXECUTE FUNCTION notify_delivery();
CREATE TRIGGER variants_removed AFTER DELETE ON variants FOR EACH ROW
  EXECUTE FUNCTION notify_delivery();
CREATE TRIGGER projects_changed AFTER UPDATE ON projects FOR EACH ROW
  WHEN ((OLD.settings, OLD.deleted_at, OLD.owner_id) IS DISTINCT FROM (NEW.settings, NEW.deleted_at, NEW.owner_id))
  EXECUTE FUNCTION notify_delivery();
