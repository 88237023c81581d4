-- What proves the audit trail to somebody who does not trust whoever can write these tables.

-- Ed25519 keys that sign checkpoints. The newest one signs; the others stay, so that what they signed can be checked.
CREATE TABLE audit_keys (
    public_key  BLOB    NOT NULL PRIMARY KEY,       -- 32 bytes
    created_at  INTEGER NOT NULL,
    private_key BLOB    NOT NULL                    -- sealed
) STRICT;

-- Ends of chains as they were when the chain was going on (kind 0) or was closed (1).
CREATE TABLE audit_checkpoints (
    app_id     BLOB    NOT NULL,
    run_id     BLOB    NOT NULL,
    number     INTEGER NOT NULL,                    -- from 1, in the chain
    kind       INTEGER NOT NULL,
    seq        INTEGER NOT NULL,
    hash       BLOB    NOT NULL,
    at         INTEGER NOT NULL,
    row_count  INTEGER NOT NULL,                    -- rows since the checkpoint before
    export     BLOB,                                -- always null here
    previous   BLOB,                                -- digest of the checkpoint before
    public_key BLOB    NOT NULL,
    signature  BLOB    NOT NULL,
    PRIMARY KEY (app_id, run_id, number)
) STRICT, WITHOUT ROWID;

-- Where retention has cut chains (kind 2): rows up to seq are gone, or will be in a moment. Never removed.
CREATE TABLE audit_cuts (
    app_id     BLOB    NOT NULL,
    run_id     BLOB    NOT NULL,
    number     INTEGER NOT NULL,                    -- from 1, in the chain
    kind       INTEGER NOT NULL,
    seq        INTEGER NOT NULL,
    hash       BLOB    NOT NULL,
    at         INTEGER NOT NULL,
    row_count  INTEGER NOT NULL,                    -- rows since the cut before
    export     BLOB,                                -- SHA-256 of the file that holds them
    previous   BLOB,                                -- digest of the cut before
    public_key BLOB    NOT NULL,
    signature  BLOB    NOT NULL,
    PRIMARY KEY (app_id, run_id, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX audit_cuts_by_place ON audit_cuts (app_id, run_id, seq);
CREATE INDEX audit_cuts_by_export ON audit_cuts (export);

-- Rows that were cut and are still to be removed.
CREATE TABLE audit_sweeps (
    app_id      BLOB    NOT NULL PRIMARY KEY,
    up_to       INTEGER NOT NULL,                   -- the last row's place in the order of writing
    before      INTEGER NOT NULL                    -- instant before which all of them were written
) STRICT;
