-- Version 4: who answers for a version at an endpoint besides the gateway itself.

CREATE TABLE servings (
    endpoint TEXT    NOT NULL,
    version  INTEGER NOT NULL,
    serving  TEXT    NOT NULL,                   -- JSON
    PRIMARY KEY (endpoint, version)
) STRICT;
