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

-- name: CleanChanges :execrows
DELETE FROM changes WHERE seq IN (SELECT c.seq FROM changes c WHERE c.seq < $1 ORDER BY c.seq LIMIT $2);
