-- Who vouched for the person of an embedded session, and in a page of which origin. Both are '' for all other sessions,
-- so that a node of the schema before goes on writing rows.

-- +goose Up
ALTER TABLE sessions ADD COLUMN embedder TEXT NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN origin TEXT NOT NULL DEFAULT '';

-- +goose Down
-- Going back is a restore from backup: a migration only ever expands, and the former version runs on what it finds.
