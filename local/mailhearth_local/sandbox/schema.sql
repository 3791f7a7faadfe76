-- The sandbox's mail store. Opened with WAL; every statement is idempotent.

-- One row: when this store was made (Unix seconds), so that a wiped and remade store shows other
-- UIDVALIDITY values.
CREATE TABLE IF NOT EXISTS store (made INTEGER NOT NULL);

-- UIDVALIDITY is store.made + id: ids are never used twice (RFC 9051, section 2.3.1.1).
CREATE TABLE IF NOT EXISTS folder (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    address    TEXT NOT NULL,
    name       TEXT NOT NULL,
    next_uid   INTEGER NOT NULL DEFAULT 1,
    subscribed INTEGER NOT NULL DEFAULT 1,
    UNIQUE (address, name)
);

CREATE TABLE IF NOT EXISTS content (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    message_id TEXT NOT NULL,
    raw        BLOB NOT NULL
);

-- One delivery by SMTP, kept when the message is gone: the receiving domain's memory of a sender.
CREATE TABLE IF NOT EXISTS arrival (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    domain     TEXT NOT NULL,
    recipient  TEXT NOT NULL,
    sender     TEXT NOT NULL,
    message_id TEXT NOT NULL,
    junked     INTEGER NOT NULL,
    rescued    INTEGER NOT NULL DEFAULT 0,
    replied    INTEGER NOT NULL DEFAULT 0,
    read       INTEGER NOT NULL DEFAULT 0,
    kept       INTEGER NOT NULL DEFAULT 0,
    complained INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS arrival_by_sender ON arrival (domain, sender, id);
CREATE INDEX IF NOT EXISTS arrival_by_message ON arrival (recipient, message_id);

CREATE TABLE IF NOT EXISTS message (
    folder_id  INTEGER NOT NULL REFERENCES folder (id) ON DELETE CASCADE,
    uid        INTEGER NOT NULL,
    content_id INTEGER NOT NULL REFERENCES content (id),
    arrival_id INTEGER REFERENCES arrival (id),
    flags      TEXT NOT NULL DEFAULT '',    -- separated by spaces, sorted
    received   TEXT NOT NULL,               -- INTERNALDATE, ISO 8601 with offset
    recent     INTEGER NOT NULL,
    PRIMARY KEY (folder_id, uid)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS message_by_content ON message (content_id);
