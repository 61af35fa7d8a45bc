-- Version 3: looks at live windows, since when alarms are as they are, and silences.

CREATE TABLE monitor_runs (
    number        INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    project       TEXT    NOT NULL,
    stage         TEXT    NOT NULL,
    endpoint      TEXT    NOT NULL,
    model_version TEXT    NOT NULL,
    window_from   INTEGER NOT NULL,
    window_to     INTEGER NOT NULL,
    time          INTEGER NOT NULL,
    asked_by      TEXT,                          -- NULL: by itself
    state         TEXT    NOT NULL,
    reason        TEXT    NOT NULL,
    rows          INTEGER NOT NULL,
    findings      INTEGER NOT NULL,
    confirmed     INTEGER NOT NULL,
    report        TEXT    NOT NULL               -- JSON
) STRICT;
-- A window is looked at by itself once.
CREATE UNIQUE INDEX monitor_runs_once ON monitor_runs (endpoint, window_from, window_to) WHERE asked_by IS NULL;
CREATE INDEX monitor_runs_by_endpoint ON monitor_runs (endpoint, number);
CREATE INDEX monitor_runs_by_window ON monitor_runs (endpoint, window_to) WHERE asked_by IS NULL;

ALTER TABLE alarms ADD COLUMN since INTEGER NOT NULL DEFAULT 0;

CREATE TABLE silences (
    project      TEXT    NOT NULL,
    alarm        TEXT    NOT NULL,
    until        INTEGER NOT NULL,               -- for people
    until_steady INTEGER NOT NULL,
    by           TEXT    NOT NULL,
    reason       TEXT    NOT NULL,
    PRIMARY KEY (project, alarm)
) STRICT, WITHOUT ROWID;
