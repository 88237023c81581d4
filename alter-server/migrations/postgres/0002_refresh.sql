-- Refreshing. Only adds: a program that knows 0001 alone keeps working on this schema.

ALTER TABLE grants ADD COLUMN reconnect_reason TEXT;              -- why needs_reconnect is set
ALTER TABLE grants ADD COLUMN refused_generation BIGINT;          -- a client reported that the provider refuses it
ALTER TABLE grants ADD COLUMN refused_at BIGINT;
ALTER TABLE grants ADD COLUMN last_good_at BIGINT;                -- last call that a client reported as successful
CREATE INDEX grants_by_age ON grants (app_id, provider_id, obtained_at)
    WHERE status = 0 AND refresh_token IS NOT NULL AND NOT needs_reconnect;  -- the ones that can be refreshed, oldest first

-- One row per grant that was ever refreshed: the lease, the note, and how it went. Never removed while its grant is there: the
-- fence must not begin again. lease_until and spending_since are by this server's clock.
CREATE TABLE refreshes (
    app_id            UUID    NOT NULL,
    grant_id          UUID    NOT NULL,
    fence             BIGINT  NOT NULL,               -- one more with each taking of the lease
    owner             UUID,                           -- who holds the lease
    lease_until       BIGINT,
    spending          BIGINT,                         -- the note: generation whose refresh token is being spent
    spending_since    BIGINT,
    rotates           BOOLEAN NOT NULL DEFAULT FALSE, -- the last refresh replaced the refresh token
    failures          BIGINT  NOT NULL DEFAULT 0,     -- in a row
    not_before        BIGINT,
    last_refreshed_at BIGINT,
    last_failed_at    BIGINT,
    failure_code      TEXT,
    failure_detail    TEXT,
    PRIMARY KEY (app_id, grant_id)
) WITH (fillfactor = 70);

-- Pauses of whole OAuth clients.
CREATE TABLE refresh_backoff (
    app_id         UUID   NOT NULL,
    provider_id    TEXT   COLLATE "C" NOT NULL,
    failures       BIGINT NOT NULL,
    not_before     BIGINT NOT NULL,
    failure_code   TEXT   NOT NULL,
    failure_detail TEXT   NOT NULL,
    PRIMARY KEY (app_id, provider_id)
);
