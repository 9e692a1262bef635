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

-- The successor and what the taker was given stand there from the moment that the token is spent.
-- name: TakeRefresh :one
UPDATE refresh_tokens
SET used_at = sqlc.arg(now), successor_hash = sqlc.arg(successor_hash), answer_sealed = sqlc.arg(answer_sealed)
WHERE hash = sqlc.arg(hash) AND used_at IS NULL AND expires_at > sqlc.arg(expires_after)
RETURNING *;

-- A try counts before it is looked at, in the same statement that says whether there is one left.
-- name: TryVerification :one
UPDATE verifications SET tries = tries + 1
WHERE id = sqlc.arg(id) AND used_at IS NULL AND expires_at > sqlc.arg(now) AND tries < sqlc.arg(most)
RETURNING *;

-- A failure counts before the password is looked at. No row: the limit is reached, and nothing is counted any more until
-- the window ends.
-- name: Strike :one
INSERT INTO failures (key, scope, label, count, since, until)
VALUES (sqlc.arg(key), sqlc.arg(scope), sqlc.arg(label), 1, sqlc.arg(now), sqlc.arg(until))
ON CONFLICT (key) DO UPDATE
SET count = CASE WHEN failures.until <= excluded.since THEN 1 ELSE failures.count + 1 END,
    since = CASE WHEN failures.until <= excluded.since THEN excluded.since ELSE failures.since END,
    until = CASE WHEN failures.until <= excluded.since THEN excluded.until ELSE failures.until END,
    label = excluded.label
WHERE failures.until <= excluded.since OR failures.count < sqlc.arg(most)
RETURNING *;

-- name: ActivateSession :execrows
UPDATE sessions SET state = 'active', token_hash = sqlc.arg(token_hash)
WHERE id = sqlc.arg(id) AND state = 'pending' AND ended_at IS NULL;

-- Who sees a session move first tells of it.
-- name: MoveSession :execrows
UPDATE sessions SET address = sqlc.arg(address)
WHERE id = sqlc.arg(id) AND address = sqlc.arg(from_address) AND ended_at IS NULL;

-- name: ActivateKey :execrows
UPDATE api_keys SET state = 'active'
WHERE id = sqlc.arg(id) AND state = sqlc.arg(from_state) AND state <> 'ended' AND ended_at IS NULL;

-- A key has one successor at most, and what is left of its own time is never made longer.
-- name: SucceedKey :execrows
UPDATE api_keys SET successor = sqlc.arg(successor),
    expires_at = CASE WHEN expires_at < sqlc.arg(until) THEN expires_at ELSE sqlc.arg(until) END
WHERE id = sqlc.arg(id) AND account_id = sqlc.arg(account_id) AND successor = '' AND ended_at IS NULL;
