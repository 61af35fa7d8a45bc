-- Version 5: what gateways decided about replicas, each once.

CREATE TABLE scalings (
    decision INTEGER NOT NULL PRIMARY KEY,       -- of decisions
    project  TEXT    NOT NULL,
    stage    TEXT    NOT NULL,
    endpoint TEXT    NOT NULL,
    version  TEXT    NOT NULL,
    number   INTEGER NOT NULL,                   -- as the gateway counts them
    time     INTEGER NOT NULL,                   -- when it was made
    before   INTEGER NOT NULL,
    after    INTEGER NOT NULL,
    rule     TEXT    NOT NULL,
    reason   TEXT    NOT NULL,
    UNIQUE (endpoint, version, number, time)
) STRICT;
CREATE INDEX scalings_of_stage ON scalings (project, stage, decision);
