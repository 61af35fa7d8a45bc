-- Version 1. Times are microseconds since 1970 in UTC; columns called steady_* count the age of the data directory.
-- Columns of JSON hold what only programs read; what people ask for has columns of its own.

CREATE TABLE reign (
    one    INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    epoch  INTEGER NOT NULL,
    owner  TEXT    NOT NULL,
    beat   INTEGER NOT NULL,
    steady INTEGER NOT NULL,
    wall   INTEGER NOT NULL,
    lease  INTEGER NOT NULL                      -- the last lease given to an attempt
) STRICT;
INSERT INTO reign VALUES (1, 0, '', 0, 0, 0, 0);

CREATE TABLE projects (
    name   TEXT NOT NULL PRIMARY KEY,
    folder TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE runs (
    number       INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    project      TEXT    NOT NULL,
    kind         TEXT    NOT NULL,
    cause_name   TEXT    NOT NULL,
    is_automatic INTEGER NOT NULL,
    cause        TEXT    NOT NULL,               -- JSON
    key          TEXT,                           -- two wishes with one key are one
    request      TEXT    NOT NULL,               -- JSON
    is_fresh     INTEGER NOT NULL,
    created      INTEGER NOT NULL,
    created_steady INTEGER NOT NULL,
    ended        INTEGER,
    is_open      INTEGER NOT NULL,
    state_name   TEXT    NOT NULL,
    state        TEXT    NOT NULL,               -- JSON
    revision     TEXT,
    pipeline     TEXT    NOT NULL                -- JSON
) STRICT;
CREATE UNIQUE INDEX runs_by_key ON runs (project, key) WHERE key IS NOT NULL;
CREATE INDEX open_runs ON runs (number) WHERE is_open = 1;
CREATE INDEX runs_by_project ON runs (project, number);

CREATE TABLE steps (
    run         INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
    position    INTEGER NOT NULL,
    name        TEXT    NOT NULL,
    state       TEXT    NOT NULL,                -- JSON
    state_name  TEXT    NOT NULL,
    lease       INTEGER,                         -- of the attempt being made
    attempts    INTEGER NOT NULL DEFAULT 0,
    failures    INTEGER NOT NULL DEFAULT 0,      -- of this round
    abandoned   INTEGER NOT NULL DEFAULT 0,      -- of this round
    first_began INTEGER,                         -- steady
    key         TEXT,
    PRIMARY KEY (run, position),
    UNIQUE (run, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE attempts (
    run    INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
    step   TEXT    NOT NULL,
    number INTEGER NOT NULL,
    lease  INTEGER NOT NULL,
    epoch  INTEGER NOT NULL,
    began  INTEGER NOT NULL,
    ended  INTEGER,
    end    TEXT,                                 -- JSON
    worker TEXT    NOT NULL,
    PRIMARY KEY (run, step, number)
) STRICT, WITHOUT ROWID;

-- What a step made of the inputs that this key stands for.
CREATE TABLE outputs (
    key    TEXT    NOT NULL PRIMARY KEY,
    output TEXT    NOT NULL,
    run    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE versions (
    number   INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    project  TEXT    NOT NULL,
    run      INTEGER NOT NULL,
    bundle   TEXT    NOT NULL,
    artifact TEXT    NOT NULL,
    revision TEXT    NOT NULL,
    created  INTEGER NOT NULL,
    state    TEXT    NOT NULL,                   -- JSON
    metrics  TEXT    NOT NULL,                   -- JSON
    UNIQUE (run, artifact)
) STRICT;
CREATE INDEX versions_by_project ON versions (project, number);

CREATE TABLE aliases (
    project TEXT    NOT NULL,
    alias   TEXT    NOT NULL,
    version INTEGER NOT NULL REFERENCES versions (number) ON DELETE CASCADE,
    PRIMARY KEY (project, alias)
) STRICT, WITHOUT ROWID;

CREATE TABLE tags (
    version INTEGER NOT NULL REFERENCES versions (number) ON DELETE CASCADE,
    key     TEXT    NOT NULL,
    value   TEXT    NOT NULL,
    PRIMARY KEY (version, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE approvals (
    number         INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    run            INTEGER NOT NULL,
    step           TEXT    NOT NULL,
    lease          INTEGER NOT NULL UNIQUE,      -- the attempt that asked
    project        TEXT    NOT NULL,
    subject        TEXT    NOT NULL,             -- JSON
    created        INTEGER NOT NULL,
    expires_steady INTEGER NOT NULL,
    expires_about  INTEGER NOT NULL,
    four_eyes      INTEGER NOT NULL,
    asked_by       TEXT,
    state_name     TEXT    NOT NULL,
    state          TEXT    NOT NULL              -- JSON
) STRICT;
CREATE INDEX open_approvals ON approvals (number) WHERE state_name = 'open';

-- Every document of routes that was in force, whole.
CREATE TABLE routes (
    epoch    INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    created  INTEGER NOT NULL,
    document TEXT    NOT NULL                    -- JSON
) STRICT;

-- What changed with each of them.
CREATE TABLE deployments (
    epoch     INTEGER NOT NULL,
    time      INTEGER NOT NULL,
    project   TEXT    NOT NULL,
    stage     TEXT    NOT NULL,
    endpoint  TEXT    NOT NULL,
    run       INTEGER,
    step      TEXT,
    part      TEXT    NOT NULL,                  -- which change of the step
    is_return INTEGER NOT NULL,
    by        TEXT,
    reason    TEXT    NOT NULL,
    versions  TEXT    NOT NULL,                  -- JSON array
    PRIMARY KEY (epoch, endpoint)
) STRICT, WITHOUT ROWID;

CREATE INDEX deployments_by_endpoint ON deployments (endpoint, epoch);

CREATE TABLE served (
    endpoint   TEXT    NOT NULL,
    variant    TEXT    NOT NULL,
    project    TEXT    NOT NULL,
    stage      TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    weight     REAL    NOT NULL,
    from_time  INTEGER NOT NULL,
    until_time INTEGER,
    from_epoch INTEGER NOT NULL,
    run        INTEGER,
    by         TEXT,
    PRIMARY KEY (endpoint, from_epoch, variant)
) STRICT, WITHOUT ROWID;
CREATE INDEX served_by_version ON served (version);

CREATE TABLE monitors (
    endpoint TEXT    NOT NULL PRIMARY KEY,
    project  TEXT    NOT NULL,
    stage    TEXT    NOT NULL,
    version  INTEGER NOT NULL,
    baseline TEXT    NOT NULL,
    since    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE trials (
    run        INTEGER NOT NULL PRIMARY KEY,
    project    TEXT    NOT NULL,
    created    INTEGER NOT NULL,
    parameters TEXT    NOT NULL,                 -- JSON objects
    metrics    TEXT    NOT NULL,
    artifacts  TEXT    NOT NULL
) STRICT;

CREATE TABLE decisions (
    number      INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    time        INTEGER NOT NULL,
    project     TEXT    NOT NULL,
    run         INTEGER,
    lease       INTEGER,
    rule        TEXT    NOT NULL,
    inputs      TEXT    NOT NULL,                -- JSON
    verdict     TEXT    NOT NULL,
    explanation TEXT    NOT NULL
) STRICT;
CREATE UNIQUE INDEX decisions_once ON decisions (lease, rule) WHERE lease IS NOT NULL;

CREATE TABLE triggers (
    project   TEXT    NOT NULL,
    name      TEXT    NOT NULL,
    is_paused INTEGER NOT NULL DEFAULT 0,
    state     TEXT,                              -- JSON
    PRIMARY KEY (project, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    number  INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    time    INTEGER NOT NULL,
    kind    TEXT    NOT NULL,
    project TEXT    NOT NULL,
    run     INTEGER,
    text    TEXT    NOT NULL,
    facts   TEXT    NOT NULL                     -- JSON
) STRICT;
CREATE INDEX events_by_run ON events (run, number) WHERE run IS NOT NULL;
CREATE INDEX refusals ON events (project, time) WHERE kind = 'run-refused';
-- History is added to, never changed.
CREATE TRIGGER events_stay BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'events never change'); END;
CREATE TRIGGER events_remain BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'events are never deleted'); END;

CREATE TABLE channels (
    channel TEXT NOT NULL,
    kind    TEXT NOT NULL,
    PRIMARY KEY (channel, kind)
) STRICT, WITHOUT ROWID;

CREATE TABLE notices (
    id         TEXT    NOT NULL PRIMARY KEY,
    channel    TEXT    NOT NULL,
    event      INTEGER NOT NULL REFERENCES events (number),
    due_steady INTEGER,                          -- NULL: taken, or given up
    attempts   INTEGER NOT NULL DEFAULT 0,
    sent       INTEGER,
    error      TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX notices_due ON notices (due_steady) WHERE due_steady IS NOT NULL;
