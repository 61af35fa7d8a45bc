-- Version 3: what live rows looked like, counted in the bins of the model's baseline.

-- Where the rows of a model version are counted.
CREATE TABLE window_bins (
    endpoint      TEXT    NOT NULL,
    model_version TEXT    NOT NULL,
    digest        TEXT    NOT NULL,              -- of the bins
    bins          TEXT    NOT NULL,              -- JSON
    time          INTEGER NOT NULL,              -- first used
    PRIMARY KEY (endpoint, model_version, digest)
) STRICT;

-- Counts of answered rows in spans of ten seconds, which become minutes and then hours as they age. Counts are written
-- in the transaction that inserts their rows, so that each row is counted once.
CREATE TABLE windows (
    endpoint      TEXT    NOT NULL,
    model_version TEXT    NOT NULL,
    bins          TEXT    NOT NULL,              -- digest
    span          INTEGER NOT NULL,              -- seconds: 10, 60 or 3600
    start         INTEGER NOT NULL,              -- microseconds since 1970-01-01 UTC
    rows          INTEGER NOT NULL,
    counts        BLOB    NOT NULL,
    PRIMARY KEY (endpoint, model_version, bins, span, start)
) STRICT;
CREATE INDEX windows_by_time ON windows (span, start);

-- What is asked about rows with a label: their version, truth and answer, without the rows.
CREATE INDEX inferences_labelled
    ON inferences (endpoint, time, model_version, label, predicted, label_time) WHERE label IS NOT NULL;
