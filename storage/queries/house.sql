-- name: AppendEvent :execrows
INSERT INTO audit_events (id, type, at, outcome, code, actor, account_id, username, provider, application, session_id,
                          key_id, address, trace_id, detail)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
ON CONFLICT DO NOTHING;

-- name: Events :many
SELECT * FROM audit_events WHERE id < $1 ORDER BY id DESC LIMIT $2;

-- name: AddChange :execrows
INSERT INTO changes (seq, kind, key, at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING;

-- name: Changes :many
SELECT * FROM changes WHERE seq >= $1 ORDER BY seq;

-- name: SealedSetting :one
SELECT value_sealed FROM settings WHERE name = $1;

-- name: PutSealedSetting :execrows
INSERT INTO settings (name, value_sealed) VALUES ($1, $2) ON CONFLICT DO NOTHING;

-- name: ReplaceSealedSetting :exec
INSERT INTO settings (name, value_sealed) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET value_sealed = excluded.value_sealed;

-- name: Generation :one
SELECT generation FROM generations WHERE hash = $1;

-- name: LastGeneration :one
SELECT generation FROM generations ORDER BY generation DESC LIMIT 1;

-- name: AddGeneration :execrows
INSERT INTO generations (hash, generation, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING;

-- name: Meta :one
SELECT value FROM meta WHERE name = $1;

-- name: PutMeta :execrows
INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING;

-- name: HoldsData :one
SELECT EXISTS (SELECT 1 FROM accounts)
    OR EXISTS (SELECT 1 FROM signing_keys)
    OR EXISTS (SELECT 1 FROM settings)
    OR EXISTS (SELECT 1 FROM local_people)
    OR EXISTS (SELECT 1 FROM codes)
    OR EXISTS (SELECT 1 FROM audit_events);
