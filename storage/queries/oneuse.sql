-- Everything that only one of several concurrent callers may win, each as one conditional statement: whoever gets a row
-- (or a row count of one) has won. Nothing here may be split into a read and a write.

-- name: TakeCode :one
UPDATE codes
SET used_at = sqlc.arg(now)
WHERE hash = sqlc.arg(hash) AND purpose = sqlc.arg(purpose) AND used_at IS NULL AND expires_at > sqlc.arg(now)
RETURNING session_id, account_id, application, challenge, expires_at;

-- name: Consume :execrows
INSERT INTO consumed (id, expires_at) VALUES ($1, $2) ON CONFLICT DO NOTHING;

-- name: AcquireJob :execrows
INSERT INTO jobs (name, holder, lease_until)
VALUES (sqlc.arg(name), sqlc.arg(holder), sqlc.arg(lease_until))
ON CONFLICT (name) DO UPDATE
SET holder = excluded.holder, lease_until = excluded.lease_until
WHERE jobs.holder = excluded.holder OR jobs.lease_until <= sqlc.arg(now);

-- name: SwapLocalPassword :execrows
UPDATE local_people
SET password_hash = sqlc.arg(hash), password_set_at = sqlc.arg(at)
WHERE provider = sqlc.arg(provider) AND subject = sqlc.arg(subject) AND password_hash = sqlc.arg(if_hash);
