-- Refreshing. Only adds: a program that knows 0001 alone keeps working on this schema.

ALTER TABLE grants ADD COLUMN reconnect_reason TEXT;              -- why needs_reconnect is set
ALTER TABLE grants ADD COLUMN refused_generation INTEGER;         -- a client reported that the provider refuses it
ALTER TABLE grants ADD COLUMN refused_at INTEGER;
ALTER TABLE grants ADD COLUMN last_good_at INTEGER;               -- last call that a client reported as successful
CREATE INDEX grants_by_age ON grants (app_id, provider_id, obtained_at)
    WHERE status = 0 AND refresh_token IS NOT NULL AND needs_reconnect = 0;  -- the ones that can be refreshed, oldest first

-- One row per grant that was ever refreshed: the lease, the note, and how it went. Never removed while its grant is there: the
-- fence must not begin again.
CREATE TABLE refreshes (
    app_id            BLOB    NOT NULL,
    grant_id          BLOB    NOT NULL,
    fence             INTEGER NOT NULL,               -- one more with each taking of the lease
    owner             BLOB,                           -- who holds the lease
    lease_until       INTEGER,
    spending          INTEGER,                        -- the note: generation whose refresh token is being spent
    spending_since    INTEGER,
    rotates           INTEGER NOT NULL DEFAULT 0,     -- the last refresh replaced the refresh token
    failures          INTEGER NOT NULL DEFAULT 0,     -- in a row
    not_before        INTEGER,
    last_refreshed_at INTEGER,
    last_failed_at    INTEGER,
    failure_code      TEXT,
    failure_detail    TEXT,
    PRIMARY KEY (app_id, grant_id)
) STRICT, WITHOUT ROWID;

-- Pauses of whole OAuth clients.
CREATE TABLE refresh_backoff (
    app_id         BLOB    NOT NULL,
    provider_id    TEXT    NOT NULL,
    failures       INTEGER NOT NULL,
    not_before     INTEGER NOT NULL,
    failure_code   TEXT    NOT NULL,
    failure_detail TEXT    NOT NULL,
    PRIMARY KEY (app_id, provider_id)
) STRICT, WITHOUT ROWID;
