-- Sealed credentials and the public half of each workspace's keys. No private key is ever here.

CREATE TABLE key_versions (
  workspace_id uuid NOT NULL REFERENCES workspaces,
  version      integer NOT NULL CHECK (version >= 1),
  state        text NOT NULL CHECK (state IN ('pending', 'active', 'retiring', 'archived', 'destroyed')),
  public_key   bytea NOT NULL CHECK (length(public_key) = 32),
  fingerprint  text NOT NULL,
  created_at   timestamptz NOT NULL,
  state_since  timestamptz NOT NULL,
  PRIMARY KEY (workspace_id, version)
);
CREATE UNIQUE INDEX key_versions_one_active ON key_versions (workspace_id) WHERE state = 'active';

CREATE TABLE sealed_credentials (
  workspace_id uuid NOT NULL,
  mailbox_id   uuid NOT NULL,
  field        text NOT NULL CHECK (field IN ('imap_password', 'smtp_password', 'oauth_refresh_token')),
  key_version  integer NOT NULL,
  generation   bigint NOT NULL DEFAULT 1,        -- compared before a refresh or a re-seal writes
  sealed       bytea NOT NULL,
  sealed_at    timestamptz NOT NULL,
  PRIMARY KEY (workspace_id, mailbox_id, field),
  FOREIGN KEY (workspace_id, mailbox_id) REFERENCES mailboxes (workspace_id, id) ON DELETE CASCADE,
  FOREIGN KEY (workspace_id, key_version) REFERENCES key_versions (workspace_id, version)
);
CREATE INDEX sealed_credentials_version ON sealed_credentials (workspace_id, key_version);

-- A connection test: ten minutes of machine time, outside backups. The mailbox row may not exist yet.
CREATE UNLOGGED TABLE connection_attempts (
  workspace_id uuid NOT NULL REFERENCES workspaces,
  id           uuid NOT NULL DEFAULT uuid7(),
  mailbox_id   uuid NOT NULL,
  worker_group text NOT NULL,
  settings     jsonb NOT NULL,                   -- endpoints, user name, provider: nothing secret
  key_version  integer NOT NULL,
  sealed       jsonb NOT NULL,                   -- field -> base64 of the sealed credential
  state        text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'ok', 'failed')),
  steps        jsonb NOT NULL DEFAULT '[]',
  woken_at     timestamptz,
  started_at   timestamptz,
  finished_at  timestamptz,
  created_at   timestamptz NOT NULL,
  expires_at   timestamptz NOT NULL,
  PRIMARY KEY (workspace_id, id)
);
CREATE INDEX connection_attempts_open ON connection_attempts (expires_at);
