-- name: Failure :one
SELECT * FROM failures WHERE key = $1;

-- name: Failures :many
SELECT * FROM failures WHERE until > sqlc.arg(now) AND key > sqlc.arg(after) ORDER BY key LIMIT $1;

-- name: ForgiveFailure :exec
UPDATE failures SET count = count - 1 WHERE key = $1 AND count > 0;

-- name: ClearFailure :execrows
DELETE FROM failures WHERE key = $1;

-- name: ClearFailures :execrows
DELETE FROM failures;
