-- Version 2: what a refused caller was told and had sent, labels with their history, and what the arrays mean.
ALTER TABLE inferences ADD COLUMN error_detail TEXT;                        -- what a refused caller was told
ALTER TABLE inferences ADD COLUMN body BLOB;                                -- the first 4 KiB that it had sent
ALTER TABLE inferences ADD COLUMN client_gone INTEGER NOT NULL DEFAULT 0;   -- 1: it left before the answer

-- The names that belong to the arrays `probabilities` and `features` of a model version's rows.
CREATE TABLE models (
    endpoint      TEXT    NOT NULL,
    model_version TEXT    NOT NULL,
    classes       TEXT    NOT NULL,              -- JSON array
    features      TEXT    NOT NULL,              -- JSON array
    time          INTEGER NOT NULL,              -- first served
    PRIMARY KEY (endpoint, model_version)
) STRICT, WITHOUT ROWID;

-- Every label that said something new about a row, in the order of arrival. inferences.label is the latest of them.
CREATE TABLE label_history (
    id         TEXT    NOT NULL,
    label      TEXT    NOT NULL,
    label_time INTEGER NOT NULL,                 -- when the truth was known, as whoever gave it says
    received   INTEGER NOT NULL                  -- when it arrived here
) STRICT;
CREATE INDEX label_history_by_id ON label_history (id);

-- The latest label of each id that is no row yet.
CREATE TABLE waiting_labels (
    id         TEXT    NOT NULL PRIMARY KEY,
    label      TEXT    NOT NULL,
    label_time INTEGER NOT NULL,
    received   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Whoever deletes a row deletes what is known about it.
CREATE TRIGGER label_history_follows AFTER DELETE ON inferences BEGIN
    DELETE FROM label_history WHERE id = OLD.id;
END;
