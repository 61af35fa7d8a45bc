-- Version 2: rollouts, the alarms they listen to, and drills.

CREATE TABLE rollouts (
    number       INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    project      TEXT    NOT NULL,
    stage        TEXT    NOT NULL,
    endpoint     TEXT    NOT NULL,
    run          INTEGER NOT NULL,
    step         TEXT    NOT NULL,
    version      INTEGER NOT NULL,               -- the new one
    created      INTEGER NOT NULL,
    ended        INTEGER,
    ended_steady INTEGER,
    is_open      INTEGER NOT NULL,
    phase        TEXT    NOT NULL,
    revision     INTEGER NOT NULL,               -- grows with every change: who changes must have seen the last one
    rollout      TEXT    NOT NULL                -- JSON
) STRICT;
CREATE UNIQUE INDEX open_rollouts ON rollouts (endpoint) WHERE is_open = 1;
CREATE INDEX rollouts_by_step ON rollouts (run, step);

CREATE TABLE alarms (
    project TEXT    NOT NULL,
    name    TEXT    NOT NULL,
    state   TEXT    NOT NULL,
    reason  TEXT    NOT NULL,
    time    INTEGER NOT NULL,
    steady  INTEGER NOT NULL,
    PRIMARY KEY (project, name)
) STRICT, WITHOUT ROWID;

-- Faults injected into a version of an endpoint, as routes carry them.
CREATE TABLE drills (
    endpoint TEXT    NOT NULL,
    version  INTEGER NOT NULL,
    until    INTEGER NOT NULL,
    faults   TEXT    NOT NULL,                   -- JSON
    by       TEXT    NOT NULL,
    PRIMARY KEY (endpoint, version)
) STRICT, WITHOUT ROWID;
