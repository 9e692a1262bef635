-- name: CreateKey :execrows
INSERT INTO api_keys (id, secret_hash, prefix, name, state, account_id, provider, subject, application, roles,
                      created_at, expires_at, last_used_at, ended_at, end_reason, networks, read_only, rate_requests,
                      rate_per_ms)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
ON CONFLICT DO NOTHING;

-- name: Key :one
SELECT * FROM api_keys WHERE id = $1;

-- name: Keys :many
SELECT * FROM api_keys WHERE account_id = $1 AND ended_at IS NULL ORDER BY created_at DESC, id;

-- name: LiveKeys :many
SELECT * FROM api_keys
WHERE ended_at IS NULL AND expires_at > sqlc.arg(now) AND id > sqlc.arg(after)
  AND (application = sqlc.narg(application) OR sqlc.narg(application) IS NULL)
  AND (state = sqlc.narg(state) OR sqlc.narg(state) IS NULL)
ORDER BY id LIMIT $1;

-- name: EndKey :execrows
UPDATE api_keys SET state = 'ended', ended_at = sqlc.arg(at), end_reason = sqlc.arg(reason)
WHERE id = sqlc.arg(id) AND account_id = sqlc.arg(account_id) AND ended_at IS NULL;

-- name: EndKeys :many
UPDATE api_keys SET state = 'ended', ended_at = sqlc.arg(at), end_reason = sqlc.arg(reason)
WHERE account_id = sqlc.arg(account_id) AND ended_at IS NULL
RETURNING id;

-- name: TouchKey :exec
UPDATE api_keys SET last_used_at = sqlc.arg(at)
WHERE id = sqlc.arg(id) AND last_used_at < sqlc.arg(at) AND ended_at IS NULL;
