-- The metrics store, version 1 (PRAGMA user_version).
CREATE TABLE series (
    id     INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,  -- never given twice
    name   TEXT    NOT NULL,                            -- without `_total`
    labels TEXT    NOT NULL,                            -- JSON object, keys in order
    UNIQUE (name, labels)
) STRICT;

-- The upper bounds of a metric's histograms; the bucket above the last one is not listed. They never change.
CREATE TABLE bounds (
    name   TEXT NOT NULL PRIMARY KEY,
    bounds TEXT NOT NULL                                -- JSON array
) STRICT, WITHOUT ROWID;

-- What was observed in a period. Every observation is in one row: upkeep moves it to a coarser one.
CREATE TABLE points (
    resolution INTEGER NOT NULL,                        -- length of the period in seconds: 10, 60 or 3600
    series     INTEGER NOT NULL,
    time       INTEGER NOT NULL,                        -- its first second since 1970-01-01 UTC, a multiple of the length
    count      INTEGER NOT NULL,
    sum        REAL    NOT NULL,
    min        REAL    NOT NULL,
    max        REAL    NOT NULL,
    histogram  BLOB,                                    -- postcard: counts per bucket, not cumulative
    PRIMARY KEY (resolution, series, time)
) STRICT, WITHOUT ROWID;

CREATE INDEX points_by_time ON points (resolution, time);
