-- name: CleanCodes :execrows
DELETE FROM codes WHERE hash IN (SELECT c.hash FROM codes c WHERE c.expires_at <= $1 ORDER BY c.expires_at LIMIT $2);

-- name: CleanConsumed :execrows
DELETE FROM consumed WHERE id IN (SELECT c.id FROM consumed c WHERE c.expires_at <= $1 ORDER BY c.expires_at LIMIT $2);

-- A session goes after its children, so that a tree never loses its root while a branch still stands.
-- name: CleanSessions :execrows
DELETE FROM sessions
WHERE id IN (
    SELECT s.id FROM sessions s
    WHERE (s.ended_at < sqlc.arg(before) OR s.expires_at < sqlc.arg(before))
      AND NOT EXISTS (SELECT 1 FROM sessions c WHERE c.parent_id = s.id AND c.parent_id <> '')
    LIMIT $1
);

-- name: CleanKeys :execrows
DELETE FROM api_keys
WHERE id IN (
    SELECT k.id FROM api_keys k
    WHERE k.ended_at < sqlc.arg(before) OR k.expires_at < sqlc.arg(before)
    LIMIT $1
);

-- name: CleanRefresh :execrows
DELETE FROM refresh_tokens
WHERE hash IN (SELECT r.hash FROM refresh_tokens r WHERE r.expires_at <= $1 ORDER BY r.expires_at LIMIT $2);

-- name: CleanRevokedTokens :execrows
DELETE FROM revoked_tokens
WHERE (id, session_id) IN (
    SELECT r.id, r.session_id FROM revoked_tokens r WHERE r.expires_at <= $1 ORDER BY r.expires_at LIMIT $2
);

-- name: CleanFailures :execrows
DELETE FROM failures WHERE key IN (SELECT f.key FROM failures f WHERE f.until <= $1 ORDER BY f.until LIMIT $2);

-- name: CleanVerifications :execrows
DELETE FROM verifications
WHERE id IN (SELECT v.id FROM verifications v WHERE v.expires_at <= $1 ORDER BY v.expires_at LIMIT $2);

-- name: CleanCutoffs :execrows
DELETE FROM cutoffs WHERE done AND at < $1;

-- name: CleanChanges :execrows
DELETE FROM changes WHERE seq IN (SELECT c.seq FROM changes c WHERE c.seq < $1 ORDER BY c.seq LIMIT $2);
