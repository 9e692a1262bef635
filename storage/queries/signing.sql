-- name: SigningKeys :many
SELECT * FROM signing_keys ORDER BY created_at, id;

-- name: CreateSigningKey :execrows
INSERT INTO signing_keys (id, algorithm, state, private_sealed, created_at, current_at, retired_at, application)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT DO NOTHING;

-- name: SigningKeyExists :one
SELECT EXISTS (SELECT 1 FROM signing_keys WHERE id = $1);

-- name: MakeSigningKeyCurrent :execrows
UPDATE signing_keys SET state = 'current', current_at = sqlc.arg(at)
WHERE id = sqlc.arg(id) AND state = 'next';

-- name: RetireSigningKey :execrows
UPDATE signing_keys SET state = 'retired', retired_at = sqlc.arg(at)
WHERE id = sqlc.arg(id) AND state IN ('next', 'current');

-- name: DeleteSigningKey :execrows
DELETE FROM signing_keys WHERE id = $1 AND state = 'retired';
