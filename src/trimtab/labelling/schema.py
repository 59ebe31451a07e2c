"""The tables of a project's database."""

VERSION = 2

TABLES = """
CREATE TABLE items (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    record TEXT NOT NULL,
    is_gold INTEGER NOT NULL,
    is_quiz INTEGER NOT NULL,
    priority REAL NOT NULL DEFAULT 0,
    place INTEGER NOT NULL,             -- a shuffled order
    wanted INTEGER,                     -- votes; NULL: everyone's
    taken INTEGER NOT NULL DEFAULT 0    -- labels and live leases
);
CREATE INDEX queue ON items (priority DESC, taken DESC, place) WHERE taken < wanted;
CREATE INDEX golden ON items (is_quiz, place) WHERE wanted IS NULL;

CREATE TABLE annotators (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    is_lead INTEGER NOT NULL,
    token_hash BLOB NOT NULL UNIQUE,    -- of the secret in a personal link
    revoked INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE sessions (
    hash BLOB PRIMARY KEY,              -- of the secret in the browser's cookie
    annotator INTEGER NOT NULL REFERENCES annotators (id),
    form_secret TEXT NOT NULL,
    opened REAL NOT NULL
);
CREATE TABLE attributes (
    annotator INTEGER NOT NULL REFERENCES annotators (id),
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (annotator, name)
);
CREATE TABLE guidelines (version INTEGER PRIMARY KEY, text TEXT NOT NULL, since TEXT NOT NULL);

CREATE TABLE leases (
    id INTEGER PRIMARY KEY,
    item INTEGER NOT NULL REFERENCES items (id),
    annotator INTEGER NOT NULL REFERENCES annotators (id),
    shown TEXT NOT NULL,                -- the order of the responses, as JSON
    guidelines INTEGER NOT NULL,        -- the version in force when it was opened
    opened REAL NOT NULL,
    until REAL NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('live', 'expired', 'second', 'done')),  -- second: a vote after the critiques
    draft TEXT NOT NULL DEFAULT '',
    turns TEXT NOT NULL DEFAULT '[]',   -- of a red-team dialogue so far, as JSON
    UNIQUE (item, annotator)
);
CREATE INDEX live_leases ON leases (until) WHERE state = 'live';
CREATE INDEX leases_of ON leases (annotator) WHERE state = 'live';
CREATE INDEX second_votes ON leases (annotator) WHERE state = 'second';

CREATE TABLE labels (
    id INTEGER PRIMARY KEY,
    item INTEGER NOT NULL REFERENCES items (id),
    annotator INTEGER NOT NULL REFERENCES annotators (id),
    answer TEXT NOT NULL,
    after_aid TEXT,
    shown TEXT NOT NULL,
    guidelines INTEGER NOT NULL,
    seconds REAL NOT NULL,
    at TEXT NOT NULL,
    UNIQUE (item, annotator)
);
CREATE INDEX labels_of ON labels (annotator);
"""
