-- One schema for SQLite and PostgreSQL: TEXT, BIGINT (milliseconds since 1970 UTC, 0 = never), BOOLEAN and BYTEA only.
-- Secrets never stand here: hash columns hold SHA-256 of high-entropy secrets, sealed columns AES-256-GCM ciphertexts
-- bound to their table, row and column.

-- +goose Up

-- What the house knows about its own store: the canary that tells a wrong master key before anything is read with it.
CREATE TABLE meta (
    name  TEXT  NOT NULL PRIMARY KEY,
    value BYTEA NOT NULL
);

CREATE TABLE accounts (
    id             TEXT    NOT NULL PRIMARY KEY,
    username       TEXT    NOT NULL,
    username_key   TEXT    NOT NULL UNIQUE,
    name           TEXT    NOT NULL,
    email          TEXT    NOT NULL,
    email_verified BOOLEAN NOT NULL,
    disabled       BOOLEAN NOT NULL,
    created_at     BIGINT  NOT NULL,
    signed_in_at   BIGINT  NOT NULL
);

CREATE TABLE identities (
    provider         TEXT   NOT NULL,
    subject          TEXT   NOT NULL,
    account_id       TEXT   NOT NULL REFERENCES accounts (id),
    snapshot         TEXT   NOT NULL, -- JSON
    upstream_session TEXT   NOT NULL,
    upstream_sealed  BYTEA,
    fetched_at       BIGINT NOT NULL,
    generation       BIGINT NOT NULL,
    created_at       BIGINT NOT NULL,
    PRIMARY KEY (provider, subject)
);
CREATE INDEX identities_account ON identities (account_id);

CREATE TABLE local_people (
    provider        TEXT    NOT NULL,
    subject         TEXT    NOT NULL,
    username        TEXT    NOT NULL,
    username_key    TEXT    NOT NULL,
    name            TEXT    NOT NULL,
    email           TEXT    NOT NULL,
    email_verified  BOOLEAN NOT NULL,
    groups          TEXT    NOT NULL, -- JSON
    password_hash   TEXT    NOT NULL,
    password_set_at BIGINT  NOT NULL,
    PRIMARY KEY (provider, subject),
    UNIQUE (provider, username_key)
);

CREATE TABLE manual_grants (
    account_id TEXT   NOT NULL REFERENCES accounts (id),
    permission TEXT   NOT NULL,
    granted_by TEXT   NOT NULL,
    granted_at BIGINT NOT NULL,
    PRIMARY KEY (account_id, permission)
);
CREATE INDEX manual_grants_permission ON manual_grants (permission);

CREATE TABLE sessions (
    id           TEXT   NOT NULL PRIMARY KEY,
    token_hash   BYTEA  UNIQUE,
    parent_id    TEXT   NOT NULL,
    kind         TEXT   NOT NULL,
    state        TEXT   NOT NULL,
    account_id   TEXT   NOT NULL,
    provider     TEXT   NOT NULL,
    subject      TEXT   NOT NULL,
    application  TEXT   NOT NULL,
    amr          TEXT   NOT NULL, -- JSON
    auth_time    BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    idle_ms      BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    ended_at     BIGINT,
    end_reason   TEXT   NOT NULL,
    address      TEXT   NOT NULL,
    user_agent   TEXT   NOT NULL
);
CREATE INDEX sessions_account ON sessions (account_id);
CREATE INDEX sessions_parent ON sessions (parent_id) WHERE parent_id <> '';
CREATE INDEX sessions_expires ON sessions (expires_at);
CREATE INDEX sessions_ended ON sessions (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE codes (
    hash        BYTEA  NOT NULL PRIMARY KEY,
    purpose     TEXT   NOT NULL,
    session_id  TEXT   NOT NULL,
    account_id  TEXT   NOT NULL,
    application TEXT   NOT NULL,
    challenge   TEXT   NOT NULL,
    expires_at  BIGINT NOT NULL,
    used_at     BIGINT
);
CREATE INDEX codes_session ON codes (session_id) WHERE session_id <> '';
CREATE INDEX codes_account ON codes (account_id) WHERE account_id <> '';
CREATE INDEX codes_expires ON codes (expires_at);

CREATE TABLE consumed (
    id         TEXT   NOT NULL PRIMARY KEY,
    expires_at BIGINT NOT NULL
);
CREATE INDEX consumed_expires ON consumed (expires_at);

CREATE TABLE api_keys (
    id           TEXT   NOT NULL PRIMARY KEY,
    secret_hash  BYTEA  NOT NULL,
    prefix       TEXT   NOT NULL,
    name         TEXT   NOT NULL,
    state        TEXT   NOT NULL,
    account_id   TEXT   NOT NULL,
    provider     TEXT   NOT NULL,
    subject      TEXT   NOT NULL,
    application  TEXT   NOT NULL,
    roles        TEXT   NOT NULL, -- JSON
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL,
    ended_at     BIGINT,
    end_reason   TEXT   NOT NULL
);
CREATE INDEX api_keys_account ON api_keys (account_id);
CREATE INDEX api_keys_expires ON api_keys (expires_at);
CREATE INDEX api_keys_ended ON api_keys (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE signing_keys (
    id             TEXT   NOT NULL PRIMARY KEY,
    algorithm      TEXT   NOT NULL,
    state          TEXT   NOT NULL,
    private_sealed BYTEA  NOT NULL,
    created_at     BIGINT NOT NULL,
    current_at     BIGINT NOT NULL,
    retired_at     BIGINT NOT NULL
);
CREATE UNIQUE INDEX signing_keys_one ON signing_keys (algorithm, state) WHERE state IN ('next', 'current');

-- seq begins with the milliseconds of at, so that its order is the order of time and at needs no index of its own.
CREATE TABLE changes (
    seq  BIGINT NOT NULL PRIMARY KEY,
    kind TEXT   NOT NULL,
    key  TEXT   NOT NULL,
    at   BIGINT NOT NULL
);

CREATE TABLE jobs (
    name        TEXT   NOT NULL PRIMARY KEY,
    holder      TEXT   NOT NULL,
    lease_until BIGINT NOT NULL
);

CREATE TABLE settings (
    name         TEXT  NOT NULL PRIMARY KEY,
    value_sealed BYTEA NOT NULL
);

CREATE TABLE generations (
    hash       TEXT   NOT NULL PRIMARY KEY,
    generation BIGINT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL
);

CREATE TABLE audit_events (
    id          BIGINT NOT NULL PRIMARY KEY,
    type        TEXT   NOT NULL,
    at          BIGINT NOT NULL,
    outcome     TEXT   NOT NULL,
    code        TEXT   NOT NULL,
    actor       TEXT   NOT NULL,
    account_id  TEXT   NOT NULL,
    username    TEXT   NOT NULL,
    provider    TEXT   NOT NULL,
    application TEXT   NOT NULL,
    session_id  TEXT   NOT NULL,
    key_id      TEXT   NOT NULL,
    address     TEXT   NOT NULL,
    trace_id    TEXT   NOT NULL,
    detail      TEXT   NOT NULL -- JSON
);
CREATE INDEX audit_events_account ON audit_events (account_id);

-- +goose Down
-- Going back is a restore from backup: a migration only ever expands, and the former version runs on what it finds.
