-- Ids are 16 bytes, instants are microseconds since 1970 UTC. app_id is the first column of every key.

CREATE TABLE apps (
    id                BLOB    NOT NULL PRIMARY KEY,
    name              TEXT    NOT NULL UNIQUE,
    status            INTEGER NOT NULL,             -- 0 active, 1 suspended
    config_generation INTEGER NOT NULL,
    idp               TEXT,                         -- JSON
    rate_limit        INTEGER,                      -- signed calls per minute and key
    created_at        INTEGER NOT NULL
) STRICT;

CREATE TABLE agents (
    app_id     BLOB    NOT NULL REFERENCES apps (id),
    id         BLOB    NOT NULL,
    name       TEXT    NOT NULL,
    status     INTEGER NOT NULL,                    -- 0 active, 1 inactive, 2 revoked
    created_at INTEGER NOT NULL,
    PRIMARY KEY (app_id, id)
) STRICT;
CREATE UNIQUE INDEX agents_by_name ON agents (app_id, name) WHERE status <> 2;

CREATE TABLE api_keys (
    app_id      BLOB    NOT NULL REFERENCES apps (id),
    id          BLOB    NOT NULL,
    digest      BLOB    NOT NULL UNIQUE,            -- SHA-256; the only lookup that does not know the app yet
    agent_id    BLOB,
    name        TEXT    NOT NULL,
    prefix      TEXT    NOT NULL,
    scopes      INTEGER NOT NULL,                   -- bit set
    status      INTEGER NOT NULL,                   -- 0 active, 1 deprecated, 2 revoked
    rate_limit  INTEGER,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER,
    revoked_at  INTEGER,
    signing_key BLOB    NOT NULL,                   -- sealed
    PRIMARY KEY (app_id, id),
    FOREIGN KEY (app_id, agent_id) REFERENCES agents (app_id, id)
) STRICT;

CREATE TABLE users (
    app_id     BLOB    NOT NULL REFERENCES apps (id),
    id         BLOB    NOT NULL,
    issuer     TEXT    NOT NULL,
    subject    TEXT    NOT NULL,
    email      TEXT,
    name       TEXT,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (app_id, id)
) STRICT;
CREATE UNIQUE INDEX users_by_subject ON users (app_id, issuer, subject);

CREATE TABLE providers (
    app_id                   BLOB    NOT NULL REFERENCES apps (id),
    id                       TEXT    NOT NULL,
    kind                     INTEGER NOT NULL,      -- 0 oauth, 1 managed secret
    definition               TEXT    NOT NULL,      -- JSON
    client_secret            BLOB,                  -- sealed
    client_secret_generation INTEGER NOT NULL,
    PRIMARY KEY (app_id, id)
) STRICT;

CREATE TABLE managed_secrets (
    app_id      BLOB    NOT NULL,
    id          BLOB    NOT NULL,
    provider_id TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    generation  INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    rotated_at  INTEGER,
    material    BLOB    NOT NULL,                   -- sealed
    PRIMARY KEY (app_id, id),
    UNIQUE (app_id, provider_id),
    FOREIGN KEY (app_id, provider_id) REFERENCES providers (app_id, id)
) STRICT;

CREATE TABLE grants (
    app_id               BLOB    NOT NULL REFERENCES apps (id),
    id                   BLOB    NOT NULL,
    provider_id          TEXT    NOT NULL,
    kind                 INTEGER NOT NULL,          -- 0 oauth, 1 managed secret
    principal_kind       INTEGER NOT NULL,          -- 0 user, 1 group, 2 system, 3 agent
    principal_id         BLOB    NOT NULL,          -- id, group name, or empty
    account_identifier   TEXT,
    account_display_name TEXT,
    label                TEXT,
    status               INTEGER NOT NULL,          -- 0 active, 1 revoked, 2 deleted
    needs_reconnect      INTEGER NOT NULL,
    scope_mismatch       INTEGER NOT NULL,
    grant_expires_at     INTEGER,
    token_expires_at     INTEGER,
    generation           INTEGER NOT NULL,
    token_generation     BLOB,
    secret_id            BLOB,
    created_at           INTEGER NOT NULL,
    last_used_at         INTEGER,
    revoked_at           INTEGER,
    revoked_by           TEXT,
    obtained_at          INTEGER,
    scopes               TEXT    NOT NULL,          -- one per line
    access_token         BLOB,                      -- sealed
    refresh_token        BLOB,                      -- sealed
    PRIMARY KEY (app_id, id),
    FOREIGN KEY (app_id, secret_id) REFERENCES managed_secrets (app_id, id)
) STRICT;
CREATE INDEX grants_by_principal ON grants (app_id, provider_id, principal_kind, principal_id, status);
CREATE UNIQUE INDEX grants_by_label ON grants (app_id, provider_id, principal_kind, principal_id, label)
    WHERE status = 0 AND label IS NOT NULL;

-- Used nonces, kept while their timestamp could still be accepted.
CREATE TABLE nonces (
    app_id    BLOB    NOT NULL,
    timestamp INTEGER NOT NULL,                     -- Unix seconds, as signed
    key_id    BLOB    NOT NULL,
    nonce     BLOB    NOT NULL,
    PRIMARY KEY (app_id, timestamp, key_id, nonce)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit_chains (
    app_id     BLOB    NOT NULL,
    run_id     BLOB    NOT NULL,
    begun_at   INTEGER NOT NULL,
    head_seq   INTEGER NOT NULL,
    head_hash  BLOB    NOT NULL,
    closed_at  INTEGER,
    PRIMARY KEY (app_id, run_id)
) STRICT;

CREATE TABLE audit_rows (
    n                INTEGER PRIMARY KEY,           -- order of writing in this database
    app_id           BLOB    NOT NULL,
    run_id           BLOB    NOT NULL,
    seq              INTEGER NOT NULL,
    id               BLOB    NOT NULL,
    at               INTEGER NOT NULL,
    action           TEXT    NOT NULL,
    outcome          INTEGER NOT NULL,              -- 0 allowed, 1 refused
    code             TEXT,
    key_id           BLOB,
    key_prefix       TEXT,
    caller           TEXT,
    caller_type      TEXT,
    actor_id         BLOB,
    agent_id         BLOB,
    principal        TEXT,
    app_user_id      BLOB,
    grant_id         BLOB,
    provider         TEXT,
    account          TEXT,
    method           TEXT,
    url              TEXT,
    status           INTEGER,
    latency_ms       INTEGER,
    reason           TEXT,
    context          TEXT,
    token_generation BLOB,
    request_id       BLOB,
    trace_parent     TEXT,
    remote           TEXT,
    detail           TEXT,
    bodies_digest    BLOB,
    prev_hash        BLOB    NOT NULL,
    hash             BLOB    NOT NULL
) STRICT;
CREATE INDEX audit_rows_by_app ON audit_rows (app_id);

CREATE TABLE audit_bodies (
    app_id BLOB NOT NULL,
    id     BLOB NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (app_id, id)
) STRICT;
