-- name: CreateAccount :execrows
INSERT INTO accounts (id, username, username_key, name, email, email_verified, disabled, created_at, signed_in_at,
                      kind, roles)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT DO NOTHING;

-- name: Account :one
SELECT * FROM accounts WHERE id = $1;

-- name: AccountByName :one
SELECT * FROM accounts WHERE username_key = $1;

-- name: Accounts :many
SELECT * FROM accounts WHERE username_key > $1 ORDER BY username_key LIMIT $2;

-- name: UpdateAccount :execrows
UPDATE accounts
SET name = $2, email = $3, email_verified = $4, disabled = $5, signed_in_at = $6
WHERE id = $1;

-- name: SetAccountRoles :execrows
UPDATE accounts SET roles = $2 WHERE id = $1 AND kind = 'service';

-- name: CreateIdentity :execrows
INSERT INTO identities (provider, subject, account_id, snapshot, upstream_session, upstream_sealed, fetched_at,
                        generation, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT DO NOTHING;

-- name: Identity :one
SELECT * FROM identities WHERE provider = $1 AND subject = $2;

-- name: Identities :many
SELECT * FROM identities WHERE account_id = $1 ORDER BY created_at, provider, subject;

-- name: UpdateIdentity :execrows
UPDATE identities
SET snapshot = $3, upstream_session = $4, upstream_sealed = $5, fetched_at = $6, generation = $7
WHERE provider = $1 AND subject = $2;

-- name: CreateLocalPerson :execrows
INSERT INTO local_people (provider, subject, username, username_key, name, email, email_verified, groups,
                          password_hash, password_set_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT DO NOTHING;

-- name: LocalPerson :one
SELECT * FROM local_people WHERE provider = $1 AND username_key = $2;

-- name: LocalPersonBySubject :one
SELECT * FROM local_people WHERE provider = $1 AND subject = $2;

-- name: SetLocalPassword :execrows
UPDATE local_people SET password_hash = $3, password_set_at = $4 WHERE provider = $1 AND subject = $2;

-- name: SetLocalGroups :execrows
UPDATE local_people SET groups = $3 WHERE provider = $1 AND subject = $2;

-- name: CreateGrant :execrows
INSERT INTO manual_grants (account_id, permission, granted_by, granted_at)
VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING;

-- name: Grants :many
SELECT * FROM manual_grants WHERE account_id = $1 ORDER BY permission;

-- name: GrantHolders :many
SELECT g.account_id
FROM manual_grants g
JOIN accounts a ON a.id = g.account_id
WHERE g.permission = $1 AND NOT a.disabled
ORDER BY g.account_id;
