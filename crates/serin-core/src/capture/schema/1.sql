-- The inference table, version 1 (PRAGMA user_version). docs/inference-table.md explains it with example queries.
CREATE TABLE inferences (
    id            TEXT    NOT NULL PRIMARY KEY,  -- the inference id; "<id>/<n>" for row n (from 0) of a batch
    time          INTEGER NOT NULL,              -- arrival, microseconds since 1970-01-01 UTC
    endpoint      TEXT    NOT NULL,
    variant       TEXT    NOT NULL,
    model_version TEXT    NOT NULL,
    run           TEXT,
    predicted     TEXT,                          -- the class answered; NULL when the request was refused
    probabilities TEXT,                          -- JSON array, class order of the model
    features      TEXT,                          -- JSON array, feature order of the model; null is a missing value
    latency_us    INTEGER NOT NULL,
    status        INTEGER NOT NULL,              -- HTTP status
    error_code    TEXT,                          -- stable code when refused
    rollout_step  TEXT,
    caller        TEXT,
    label         TEXT,                          -- the true class, once known
    label_time    INTEGER
) STRICT;

CREATE INDEX inferences_by_time    ON inferences (time);
CREATE INDEX inferences_by_class   ON inferences (predicted, time);
CREATE INDEX inferences_by_version ON inferences (model_version, time);

-- Journal segments whose rows are in the table and whose files may still be there. A segment's entry is written in
-- the transaction that inserts its rows, so a segment is loaded once however often the loader dies.
CREATE TABLE capture_segments (
    name TEXT    NOT NULL PRIMARY KEY,
    rows INTEGER NOT NULL,
    time INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
