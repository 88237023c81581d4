-- Connect sessions, the wallet, webhooks. Only adds: a program that knows 0001 to 0003 keeps working on this schema while its
-- replicas are replaced (a grant that it revokes in the meantime is not revoked at the provider, and nobody is told).

ALTER TABLE apps ADD COLUMN page TEXT;                                    -- JSON
ALTER TABLE apps ADD COLUMN sign_in TEXT;                                 -- JSON
ALTER TABLE apps ADD COLUMN sign_in_secret BYTEA;                         -- sealed
ALTER TABLE apps ADD COLUMN sign_in_secret_generation BIGINT NOT NULL DEFAULT 0;

ALTER TABLE users ADD COLUMN status SMALLINT NOT NULL DEFAULT 0;          -- 0 active, 1 suspended, 2 deleted
CREATE INDEX users_by_person ON users (issuer, subject);                  -- the wallet: one person in several apps

ALTER TABLE grants ADD COLUMN account_id TEXT;                            -- the provider's stable id of the account
ALTER TABLE grants ADD COLUMN parent_grant_id UUID;                       -- ends with its parent
ALTER TABLE grants ADD COLUMN provider_revocation TEXT;                   -- what the provider said to the revocation
CREATE INDEX grants_by_owner ON grants (app_id, principal_kind, principal_id, created_at);  -- the wallet: all of a user's
CREATE INDEX grants_by_parent ON grants (app_id, parent_grant_id) WHERE parent_grant_id IS NOT NULL;

CREATE INDEX audit_rows_by_grant ON audit_rows (app_id, grant_id, n) WHERE grant_id IS NOT NULL;

CREATE TABLE connect_sessions (
    app_id                   UUID     NOT NULL REFERENCES apps (id),
    id                       UUID     NOT NULL,
    kind                     SMALLINT NOT NULL,  -- 0 connect, 1 sign-in
    token                    BYTEA    NOT NULL,  -- SHA-256 of the token's secret half
    version                  BIGINT   NOT NULL,
    created_at               BIGINT   NOT NULL,
    expires_at               BIGINT   NOT NULL,
    asked                    TEXT     NOT NULL,  -- JSON
    progress                 TEXT     NOT NULL,  -- JSON
    user_token               BYTEA,  -- sealed
    PRIMARY KEY (app_id, id)
);
CREATE INDEX connect_sessions_by_end ON connect_sessions (expires_at);

CREATE TABLE browser_sessions (
    app_id                   UUID     NOT NULL REFERENCES apps (id),
    id                       UUID     NOT NULL,
    secret                   BYTEA    NOT NULL,  -- SHA-256 of the cookie's secret half
    user_id                  UUID     NOT NULL,
    created_at               BIGINT   NOT NULL,
    seen_at                  BIGINT   NOT NULL,
    expires_at               BIGINT   NOT NULL,
    PRIMARY KEY (app_id, id),
    FOREIGN KEY (app_id, user_id) REFERENCES users (app_id, id)
);
CREATE INDEX browser_sessions_by_end ON browser_sessions (expires_at);

CREATE TABLE webhook_endpoints (
    app_id                   UUID     NOT NULL REFERENCES apps (id),
    id                       UUID     NOT NULL,
    url                      TEXT     NOT NULL,
    events                   TEXT     NOT NULL,  -- one per line; empty is all
    created_at               BIGINT   NOT NULL,
    secret                   BYTEA    NOT NULL,  -- sealed
    PRIMARY KEY (app_id, id)
);

CREATE TABLE hook_sources (
    app_id                   UUID     NOT NULL REFERENCES apps (id),
    id                       UUID     NOT NULL,
    shape                    TEXT     NOT NULL,
    created_at               BIGINT   NOT NULL,
    secret                   BYTEA    NOT NULL,  -- sealed
    PRIMARY KEY (app_id, id)
);

-- Work that follows from a change.
CREATE TABLE outbox (
    app_id                   UUID     NOT NULL REFERENCES apps (id),
    id                       UUID     NOT NULL,
    kind                     SMALLINT NOT NULL,  -- 0 revoke at the provider, 1 deliver an event
    state                    SMALLINT NOT NULL,  -- 0 waiting, 1 dead
    grant_id                 UUID     NOT NULL,
    provider_id              TEXT     COLLATE "C",
    endpoint_id              UUID,
    payload                  TEXT,
    attempts                 INTEGER  NOT NULL,
    not_before               BIGINT   NOT NULL,  -- also the end of a taker's lease
    created_at               BIGINT   NOT NULL,
    last_error               TEXT,
    generation               BIGINT   NOT NULL,  -- of the tokens
    access_token             BYTEA,  -- sealed
    refresh_token            BYTEA,  -- sealed
    PRIMARY KEY (app_id, id)
);
CREATE INDEX outbox_due ON outbox (not_before) WHERE state = 0;
CREATE INDEX outbox_by_grant ON outbox (app_id, grant_id);
