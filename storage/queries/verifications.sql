-- name: PutVerification :execrows
INSERT INTO verifications (id, code_sealed, account_id, session_id, key_id, tries, expires_at)
VALUES ($1, $2, $3, $4, $5, 0, $6)
ON CONFLICT DO NOTHING;

-- name: UseVerification :execrows
UPDATE verifications SET used_at = sqlc.arg(now) WHERE id = sqlc.arg(id) AND used_at IS NULL;
