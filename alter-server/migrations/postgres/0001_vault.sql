-- Ids are 16 bytes, instants are microseconds since 1970 UTC. app_id is the first column of every key.

CREATE TABLE apps (
    id                       UUID     NOT NULL PRIMARY KEY,
    name                     TEXT     NOT NULL UNIQUE,
    status                   SMALLINT NOT NULL,  -- 0 active, 1 suspended
    config_generation        BIGINT   NOT NULL,
    idp                      TEXT,  -- JSON
    rate_limit               BIGINT,  -- signed calls per minute and key
    created_at               BIGINT   NOT NULL
);

CREATE TABLE agents (
    app_id                   UUID     NOT NULL REFERENCES apps (id),
    id                       UUID     NOT NULL,
    name                     TEXT     NOT NULL,
    status                   SMALLINT NOT NULL,  -- 0 active, 1 inactive, 2 revoked
    created_at               BIGINT   NOT NULL,
    PRIMARY KEY (app_id, id)
);
CREATE UNIQUE INDEX agents_by_name ON agents (app_id, name) WHERE status <> 2;

CREATE TABLE api_keys (
    n                        BIGINT   GENERATED ALWAYS AS IDENTITY,  -- order of creation, for lists and re-sealing
    app_id                   UUID     NOT NULL REFERENCES apps (id),
    id                       UUID     NOT NULL,
    digest                   BYTEA    NOT NULL UNIQUE,  -- SHA-256; the only lookup that does not know the app yet
    agent_id                 UUID,
    name                     TEXT     NOT NULL,
    prefix                   TEXT     NOT NULL,
    scopes                   BIGINT   NOT NULL,  -- bit set
    status                   SMALLINT NOT NULL,  -- 0 active, 1 deprecated, 2 revoked
    rate_limit               BIGINT,
    created_at               BIGINT   NOT NULL,
    expires_at               BIGINT,
    revoked_at               BIGINT,
    signing_key              BYTEA    NOT NULL,  -- sealed
    PRIMARY KEY (app_id, id),
    FOREIGN KEY (app_id, agent_id) REFERENCES agents (app_id, id)
);
CREATE INDEX api_keys_in_order ON api_keys (n);

CREATE TABLE users (
    app_id                   UUID     NOT NULL REFERENCES apps (id),
    id                       UUID     NOT NULL,
    issuer                   TEXT     NOT NULL,
    subject                  TEXT     NOT NULL,
    email                    TEXT,
    name                     TEXT,
    created_at               BIGINT   NOT NULL,
    PRIMARY KEY (app_id, id)
);
CREATE UNIQUE INDEX users_by_subject ON users (app_id, issuer, subject);

CREATE TABLE providers (
    n                        BIGINT   GENERATED ALWAYS AS IDENTITY,  -- order of creation, for lists and re-sealing
    app_id                   UUID     NOT NULL REFERENCES apps (id),
    id                       TEXT     COLLATE "C" NOT NULL,
    kind                     SMALLINT NOT NULL,  -- 0 oauth, 1 managed secret
    definition               TEXT     NOT NULL,  -- JSON
    client_secret            BYTEA,  -- sealed
    client_secret_generation BIGINT   NOT NULL,
    PRIMARY KEY (app_id, id)
);
CREATE INDEX providers_in_order ON providers (n);

CREATE TABLE managed_secrets (
    n                        BIGINT   GENERATED ALWAYS AS IDENTITY,  -- order of creation, for lists and re-sealing
    app_id                   UUID     NOT NULL,
    id                       UUID     NOT NULL,
    provider_id              TEXT     COLLATE "C" NOT NULL,
    name                     TEXT     NOT NULL,
    generation               BIGINT   NOT NULL,
    created_at               BIGINT   NOT NULL,
    rotated_at               BIGINT,
    material                 BYTEA    NOT NULL,  -- sealed
    PRIMARY KEY (app_id, id),
    UNIQUE (app_id, provider_id),
    FOREIGN KEY (app_id, provider_id) REFERENCES providers (app_id, id)
);
CREATE INDEX managed_secrets_in_order ON managed_secrets (n);

CREATE TABLE grants (
    n                        BIGINT   GENERATED ALWAYS AS IDENTITY,  -- order of creation, for lists and re-sealing
    app_id                   UUID     NOT NULL REFERENCES apps (id),
    id                       UUID     NOT NULL,
    provider_id              TEXT     COLLATE "C" NOT NULL,
    kind                     SMALLINT NOT NULL,  -- 0 oauth, 1 managed secret
    principal_kind           SMALLINT NOT NULL,  -- 0 user, 1 group, 2 system, 3 agent
    principal_id             BYTEA    NOT NULL,  -- id, group name, or empty
    account_identifier       TEXT,
    account_display_name     TEXT,
    label                    TEXT,
    status                   SMALLINT NOT NULL,  -- 0 active, 1 revoked, 2 deleted
    needs_reconnect          BOOLEAN  NOT NULL,
    scope_mismatch           BOOLEAN  NOT NULL,
    grant_expires_at         BIGINT,
    token_expires_at         BIGINT,
    generation               BIGINT   NOT NULL,
    token_generation         UUID,
    secret_id                UUID,
    created_at               BIGINT   NOT NULL,
    last_used_at             BIGINT,
    revoked_at               BIGINT,
    revoked_by               TEXT,
    obtained_at              BIGINT,
    scopes                   TEXT     NOT NULL,  -- one per line
    access_token             BYTEA,  -- sealed
    refresh_token            BYTEA,  -- sealed
    PRIMARY KEY (app_id, id),
    FOREIGN KEY (app_id, secret_id) REFERENCES managed_secrets (app_id, id)
);
CREATE INDEX grants_in_order ON grants (n);
CREATE INDEX grants_by_principal ON grants (app_id, provider_id, principal_kind, principal_id, status);
CREATE UNIQUE INDEX grants_by_label ON grants (app_id, provider_id, principal_kind, principal_id, label)
    WHERE status = 0 AND label IS NOT NULL;

-- What grows with use is partitioned by time. The store makes partitions ahead (nonces by the hour, audit by the day,
-- named <table>_<first bound>), drops those of nonces once their timestamps are no longer accepted, and makes one that is
-- missing when it first writes to it.

-- Used nonces, kept while their timestamp could still be accepted.
CREATE TABLE nonces (
    app_id                   UUID     NOT NULL,
    timestamp                BIGINT   NOT NULL,  -- Unix seconds, as signed
    key_id                   UUID     NOT NULL,
    nonce                    BYTEA    NOT NULL,
    PRIMARY KEY (app_id, timestamp, key_id, nonce)
) PARTITION BY RANGE (timestamp);

-- One chain per app and writer; a process has several writers.
CREATE TABLE audit_chains (
    app_id                   UUID     NOT NULL,
    run_id                   UUID     NOT NULL,
    begun_at                 BIGINT   NOT NULL,
    head_seq                 BIGINT   NOT NULL,
    head_hash                BYTEA    NOT NULL,
    closed_at                BIGINT,
    PRIMARY KEY (app_id, run_id)
) WITH (fillfactor = 50);
CREATE INDEX audit_chains_by_run ON audit_chains (run_id);

CREATE SEQUENCE audit_order;

CREATE TABLE audit_rows (
    n                        BIGINT   NOT NULL DEFAULT nextval('audit_order'),  -- order of writing
    app_id                   UUID     NOT NULL,
    run_id                   UUID     NOT NULL,
    seq                      BIGINT   NOT NULL,
    id                       UUID     NOT NULL,
    at                       BIGINT   NOT NULL,
    action                   TEXT     NOT NULL,
    outcome                  SMALLINT NOT NULL,  -- 0 allowed, 1 refused
    code                     TEXT,
    key_id                   UUID,
    key_prefix               TEXT,
    caller                   TEXT,
    caller_type              TEXT,
    actor_id                 UUID,
    agent_id                 UUID,
    principal                TEXT,
    app_user_id              UUID,
    grant_id                 UUID,
    provider                 TEXT,
    account                  TEXT,
    method                   TEXT,
    url                      TEXT,
    status                   INTEGER,
    latency_ms               BIGINT,
    reason                   TEXT,
    context                  TEXT,
    token_generation         UUID,
    request_id               UUID,
    trace_parent             TEXT,
    remote                   TEXT,
    detail                   TEXT,
    bodies_digest            BYTEA,
    prev_hash                BYTEA    NOT NULL,
    hash                     BYTEA    NOT NULL,
    PRIMARY KEY (app_id, run_id, seq, at)
) PARTITION BY RANGE (at);
CREATE INDEX audit_rows_by_app ON audit_rows (app_id, n);
CREATE INDEX audit_rows_in_order ON audit_rows (n);

CREATE TABLE audit_bodies (
    n                        BIGINT   NOT NULL DEFAULT nextval('audit_order'),
    app_id                   UUID     NOT NULL,
    id                       UUID     NOT NULL,
    at                       BIGINT   NOT NULL,
    sealed                   BYTEA    NOT NULL,
    PRIMARY KEY (app_id, id, at)
) PARTITION BY RANGE (at);
CREATE INDEX audit_bodies_in_order ON audit_bodies (n);
