-- name: CreateSession :execrows
INSERT INTO sessions (id, token_hash, parent_id, kind, state, account_id, provider, subject, application, amr,
                      auth_time, created_at, last_seen_at, idle_ms, expires_at, ended_at, end_reason, address,
                      user_agent, embedder, origin, remembered)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)
ON CONFLICT DO NOTHING;

-- name: SessionOpen :one
SELECT EXISTS (SELECT 1 FROM sessions WHERE id = $1 AND ended_at IS NULL);

-- name: Session :one
SELECT * FROM sessions WHERE id = $1;

-- name: SessionByToken :one
SELECT * FROM sessions WHERE token_hash = $1;

-- name: Sessions :many
SELECT * FROM sessions
WHERE account_id = sqlc.arg(account_id) AND ended_at IS NULL AND expires_at > sqlc.arg(now)
  AND (idle_ms = 0 OR last_seen_at + idle_ms > sqlc.arg(now))
ORDER BY created_at DESC, id;

-- name: LiveSessions :many
SELECT * FROM sessions
WHERE state = 'active' AND ended_at IS NULL AND expires_at > sqlc.arg(now) AND (idle_ms = 0 OR last_seen_at + idle_ms > sqlc.arg(now))
  AND id > sqlc.arg(after)
  AND (application = sqlc.narg(application) OR sqlc.narg(application) IS NULL)
  AND (provider = sqlc.narg(provider) OR sqlc.narg(provider) IS NULL)
ORDER BY id LIMIT $1;

-- name: EndSession :many
WITH RECURSIVE tree (id) AS (
    SELECT root.id FROM sessions root WHERE root.id = sqlc.arg(id)
    UNION
    SELECT child.id FROM sessions child JOIN tree ON child.parent_id = tree.id AND child.parent_id <> ''
)
UPDATE sessions
SET state = 'ended', ended_at = sqlc.arg(at), end_reason = sqlc.arg(reason)
WHERE sessions.id IN (SELECT tree.id FROM tree) AND ended_at IS NULL
RETURNING sessions.id;

-- name: SpendCodesOfTree :exec
WITH RECURSIVE tree (id) AS (
    SELECT root.id FROM sessions root WHERE root.id = sqlc.arg(id)
    UNION
    SELECT child.id FROM sessions child JOIN tree ON child.parent_id = tree.id AND child.parent_id <> ''
)
UPDATE codes
SET used_at = sqlc.arg(at)
WHERE session_id <> '' AND session_id IN (SELECT tree.id FROM tree) AND used_at IS NULL;

-- name: EndSessions :many
WITH RECURSIVE tree (id) AS (
    SELECT root.id FROM sessions root WHERE root.account_id = sqlc.arg(account_id)
    UNION
    SELECT child.id FROM sessions child JOIN tree ON child.parent_id = tree.id AND child.parent_id <> ''
)
UPDATE sessions
SET state = 'ended', ended_at = sqlc.arg(at), end_reason = sqlc.arg(reason)
WHERE sessions.id IN (SELECT tree.id FROM tree) AND ended_at IS NULL
RETURNING sessions.id;

-- name: SpendCodesOfAccountTrees :exec
WITH RECURSIVE tree (id) AS (
    SELECT root.id FROM sessions root WHERE root.account_id = sqlc.arg(account_id)
    UNION
    SELECT child.id FROM sessions child JOIN tree ON child.parent_id = tree.id AND child.parent_id <> ''
)
UPDATE codes
SET used_at = sqlc.arg(at)
WHERE session_id <> '' AND session_id IN (SELECT tree.id FROM tree) AND used_at IS NULL;

-- name: SpendCodesOfAccount :exec
UPDATE codes SET used_at = sqlc.arg(at)
WHERE account_id <> '' AND account_id = sqlc.arg(account_id) AND used_at IS NULL;

-- name: TouchSession :exec
UPDATE sessions SET last_seen_at = sqlc.arg(at)
WHERE id = sqlc.arg(id) AND last_seen_at < sqlc.arg(at) AND ended_at IS NULL;

-- name: PutCode :execrows
INSERT INTO codes (hash, purpose, session_id, account_id, application, challenge, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT DO NOTHING;

-- name: SpendCodes :exec
UPDATE codes SET used_at = sqlc.arg(at) WHERE purpose = sqlc.arg(purpose) AND used_at IS NULL;
