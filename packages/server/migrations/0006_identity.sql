-- Which installation this database is, and whether the store has been seen to bear its mark. One row, made at the
-- first start: a database with a store that bears no mark, or another, deletes nothing there.
CREATE TABLE installation (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  id uuid NOT NULL,
  -- When the mark was first read back from the store; null: none has been written yet.
  marked_at timestamptz
);
