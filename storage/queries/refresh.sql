-- name: PutRefresh :execrows
INSERT INTO refresh_tokens (hash, session_id, token_id, token_expires_at, issued_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT DO NOTHING;

-- name: Refresh :one
SELECT * FROM refresh_tokens WHERE hash = $1;

-- name: DropRefreshAnswers :execrows
UPDATE refresh_tokens SET answer_sealed = NULL
WHERE hash IN (
    SELECT r.hash FROM refresh_tokens r
    WHERE r.answer_sealed IS NOT NULL AND r.used_at < sqlc.arg(before)
    ORDER BY r.used_at LIMIT $1
);

-- Only what is remembered as long already is known.
-- name: RevokeToken :execrows
INSERT INTO revoked_tokens (id, session_id, application, revoked_at, expires_at)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (id, session_id) DO UPDATE
SET application = excluded.application, revoked_at = excluded.revoked_at, expires_at = excluded.expires_at
WHERE revoked_tokens.expires_at < excluded.expires_at;

-- name: RevokedTokens :many
SELECT id FROM revoked_tokens WHERE session_id = $1 AND expires_at > $2 ORDER BY id;

-- name: RevokedTokensSince :many
SELECT * FROM revoked_tokens
WHERE revoked_at >= sqlc.arg(since) AND expires_at > sqlc.arg(now)
  AND (application = sqlc.narg(application) OR application = '' OR sqlc.narg(application) IS NULL)
ORDER BY revoked_at, id LIMIT $1;

-- name: SessionsEndedSince :many
SELECT id, account_id, application, ended_at, expires_at, end_reason FROM sessions
WHERE ended_at >= sqlc.arg(since) AND expires_at > sqlc.arg(now)
  AND (application = sqlc.narg(application) OR sqlc.narg(application) IS NULL)
ORDER BY ended_at, id LIMIT $1;

-- name: KeysEndedSince :many
SELECT id, account_id, application, ended_at, expires_at, end_reason FROM api_keys
WHERE ended_at >= sqlc.arg(since) AND expires_at > sqlc.arg(now)
  AND (application = sqlc.narg(application) OR sqlc.narg(application) IS NULL)
ORDER BY ended_at, id LIMIT $1;

-- name: PutCutoff :exec
INSERT INTO cutoffs (kind, key, at, done) VALUES ($1, $2, $3, false)
ON CONFLICT (kind, key) DO UPDATE SET at = excluded.at, done = false WHERE cutoffs.at < excluded.at;

-- name: Cutoffs :many
SELECT * FROM cutoffs ORDER BY at, kind, key;

-- name: FinishCutoff :execrows
UPDATE cutoffs SET done = true WHERE kind = $1 AND key = $2 AND at = $3;

-- name: SessionsCutOff :many
SELECT id FROM sessions WHERE ended_at IS NULL AND created_at <= sqlc.arg(at) ORDER BY id LIMIT $1;

-- name: SessionsCutOffApplication :many
SELECT id FROM sessions
WHERE application = sqlc.arg(application) AND ended_at IS NULL AND created_at <= sqlc.arg(at)
ORDER BY id LIMIT $1;

-- name: SessionsCutOffProvider :many
SELECT id FROM sessions
WHERE provider = sqlc.arg(provider) AND ended_at IS NULL AND created_at <= sqlc.arg(at)
ORDER BY id LIMIT $1;

-- name: KeysCutOff :many
SELECT id, account_id FROM api_keys WHERE ended_at IS NULL AND created_at <= sqlc.arg(at) ORDER BY id LIMIT $1;

-- name: KeysCutOffApplication :many
SELECT id, account_id FROM api_keys
WHERE application = sqlc.arg(application) AND ended_at IS NULL AND created_at <= sqlc.arg(at)
ORDER BY id LIMIT $1;

-- name: KeysCutOffProvider :many
SELECT id, account_id FROM api_keys
WHERE provider = sqlc.arg(provider) AND ended_at IS NULL AND created_at <= sqlc.arg(at)
ORDER BY id LIMIT $1;

-- name: SessionsAhead :many
SELECT id FROM sessions
WHERE ended_at IS NULL AND created_at > sqlc.arg(at)
  AND (application = sqlc.narg(application) OR sqlc.narg(application) IS NULL)
  AND (provider = sqlc.narg(provider) OR sqlc.narg(provider) IS NULL)
ORDER BY id;

-- name: KeysAhead :many
SELECT id, account_id FROM api_keys
WHERE ended_at IS NULL AND created_at > sqlc.arg(at)
  AND (application = sqlc.narg(application) OR sqlc.narg(application) IS NULL)
  AND (provider = sqlc.narg(provider) OR sqlc.narg(provider) IS NULL)
ORDER BY id;
