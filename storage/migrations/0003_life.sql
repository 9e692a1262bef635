-- The life of what is issued: remembered sign-ins, refresh tokens, revoked tokens, keys with limits of their own, service
-- accounts, confirmations by e-mail, failed sign-ins. What is added to older tables has defaults that mean what the
-- schema before meant, so that a node of that schema goes on reading and writing rows.

-- +goose Up

-- kind: person, or service for an account that only keys act for; roles are a service account's own, as JSON.
ALTER TABLE accounts ADD COLUMN kind TEXT NOT NULL DEFAULT 'person';
ALTER TABLE accounts ADD COLUMN roles TEXT NOT NULL DEFAULT '[]';

ALTER TABLE sessions ADD COLUMN remembered BOOLEAN NOT NULL DEFAULT false;
CREATE INDEX sessions_application ON sessions (application, id) WHERE ended_at IS NULL;
CREATE INDEX sessions_provider ON sessions (provider, id) WHERE ended_at IS NULL;

-- networks as JSON; rate_requests per rate_per_ms, 0: no limit; successor: id of the key that takes its place.
ALTER TABLE api_keys ADD COLUMN networks TEXT NOT NULL DEFAULT '[]';
ALTER TABLE api_keys ADD COLUMN read_only BOOLEAN NOT NULL DEFAULT false;
ALTER TABLE api_keys ADD COLUMN rate_requests BIGINT NOT NULL DEFAULT 0;
ALTER TABLE api_keys ADD COLUMN rate_per_ms BIGINT NOT NULL DEFAULT 0;
ALTER TABLE api_keys ADD COLUMN successor TEXT NOT NULL DEFAULT '';
CREATE INDEX api_keys_application ON api_keys (application, id) WHERE ended_at IS NULL;
CREATE INDEX api_keys_provider ON api_keys (provider, id) WHERE ended_at IS NULL;

-- application: whom the key is pinned to; '' for those that all others share.
ALTER TABLE signing_keys ADD COLUMN application TEXT NOT NULL DEFAULT '';
-- Under another name: not every engine makes an index anew in the transaction that dropped one of that name.
CREATE UNIQUE INDEX signing_keys_one_each ON signing_keys (application, algorithm, state) WHERE state IN ('next', 'current');
DROP INDEX signing_keys_one;

-- One row for each refresh token that was issued; used ones stay until the session is over, so that their reuse is seen.
-- token_id and token_expires_at are those of the access token issued with it. answer_sealed is what its taker was
-- given, under a key derived from the refresh token itself.
CREATE TABLE refresh_tokens (
    hash             BYTEA  NOT NULL PRIMARY KEY,
    session_id       TEXT   NOT NULL,
    token_id         TEXT   NOT NULL,
    token_expires_at BIGINT NOT NULL,
    issued_at        BIGINT NOT NULL,
    expires_at       BIGINT NOT NULL,
    used_at          BIGINT,
    successor_hash   BYTEA,
    answer_sealed    BYTEA
);
CREATE INDEX refresh_tokens_session ON refresh_tokens (session_id);
CREATE INDEX refresh_tokens_expires ON refresh_tokens (expires_at);
CREATE INDEX refresh_tokens_answered ON refresh_tokens (used_at) WHERE answer_sealed IS NOT NULL;

-- Access tokens that died before their time, by jti and sid: an application with a secret chooses the jti of its own tokens,
-- and must not take the place of another's. session_id is '' where nobody told whose they are, application '' where it
-- could be anybody's.
CREATE TABLE revoked_tokens (
    id          TEXT   NOT NULL,
    session_id  TEXT   NOT NULL,
    application TEXT   NOT NULL,
    revoked_at  BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL,
    PRIMARY KEY (id, session_id)
);
CREATE INDEX revoked_tokens_session ON revoked_tokens (session_id);
CREATE INDEX revoked_tokens_revoked ON revoked_tokens (revoked_at);
CREATE INDEX revoked_tokens_expires ON revoked_tokens (expires_at);

-- Everything of an application (kind application), of a provider or of the whole house (key '') that was issued at or
-- before a moment is over. One row ends any number of sessions and keys at once; a job then ends them one by one.
CREATE TABLE cutoffs (
    kind TEXT    NOT NULL,
    key  TEXT    NOT NULL,
    at   BIGINT  NOT NULL,
    done BOOLEAN NOT NULL,
    PRIMARY KEY (kind, key)
);

-- Failed sign-ins. key is the hash of what is counted, so that what somebody typed into the wrong field stands nowhere;
-- label names it for the administrator where it is no secret. The count ends with its window.
CREATE TABLE failures (
    key    TEXT   NOT NULL PRIMARY KEY,
    scope  TEXT   NOT NULL,
    label  TEXT   NOT NULL,
    count  BIGINT NOT NULL,
    since  BIGINT NOT NULL,
    until  BIGINT NOT NULL
);
CREATE INDEX failures_until ON failures (until);

-- Codes that went by e-mail, for a pending session or a pending key.
CREATE TABLE verifications (
    id          TEXT   NOT NULL PRIMARY KEY,
    code_sealed BYTEA  NOT NULL,
    account_id  TEXT   NOT NULL,
    session_id  TEXT   NOT NULL,
    key_id      TEXT   NOT NULL,
    tries       BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL,
    used_at     BIGINT
);
CREATE INDEX verifications_expires ON verifications (expires_at);

-- +goose Down
-- Going back is a restore from backup: a migration only ever expands, and the former version runs on what it finds.
