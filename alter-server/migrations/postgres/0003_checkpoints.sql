-- What proves the audit trail to somebody who does not trust whoever can write these tables.

-- Ed25519 keys that sign checkpoints. The newest one signs; the others stay, so that what they signed can be checked.
CREATE TABLE audit_keys (
    n           BIGINT   GENERATED ALWAYS AS IDENTITY,  -- for re-sealing
    public_key  BYTEA    NOT NULL PRIMARY KEY,  -- 32 bytes
    created_at  BIGINT   NOT NULL,
    private_key BYTEA    NOT NULL  -- sealed
);

-- Ends of chains as they were when the chain was going on (kind 0) or was closed (1).
CREATE TABLE audit_checkpoints (
    app_id     UUID     NOT NULL,
    run_id     UUID     NOT NULL,
    number     BIGINT   NOT NULL,  -- from 1, in the chain
    kind       SMALLINT NOT NULL,
    seq        BIGINT   NOT NULL,
    hash       BYTEA    NOT NULL,
    at         BIGINT   NOT NULL,
    row_count  BIGINT   NOT NULL,  -- rows since the checkpoint before
    export     BYTEA,  -- always null here
    previous   BYTEA,  -- digest of the checkpoint before
    public_key BYTEA    NOT NULL,
    signature  BYTEA    NOT NULL,
    PRIMARY KEY (app_id, run_id, number)
);

-- Where retention has cut chains (kind 2): rows up to seq are gone, or will be in a moment. Never removed.
CREATE TABLE audit_cuts (
    app_id     UUID     NOT NULL,
    run_id     UUID     NOT NULL,
    number     BIGINT   NOT NULL,  -- from 1, in the chain
    kind       SMALLINT NOT NULL,
    seq        BIGINT   NOT NULL,
    hash       BYTEA    NOT NULL,
    at         BIGINT   NOT NULL,
    row_count  BIGINT   NOT NULL,  -- rows since the cut before
    export     BYTEA,  -- SHA-256 of the file that holds them
    previous   BYTEA,  -- digest of the cut before
    public_key BYTEA    NOT NULL,
    signature  BYTEA    NOT NULL,
    PRIMARY KEY (app_id, run_id, number)
);
CREATE INDEX audit_cuts_by_place ON audit_cuts (app_id, run_id, seq);
CREATE INDEX audit_cuts_by_export ON audit_cuts (export);

-- Rows that were cut and are still to be removed.
CREATE TABLE audit_sweeps (
    app_id     UUID     NOT NULL PRIMARY KEY,
    up_to      BIGINT   NOT NULL,  -- the last row's place in the order of writing
    before     BIGINT   NOT NULL  -- instant before which all of them were written
);
