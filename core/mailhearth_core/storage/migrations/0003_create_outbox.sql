-- Wishes (the outbox) and what happened (the audit trail).

CREATE TABLE commands (
  workspace_id uuid NOT NULL REFERENCES workspaces,
  id           uuid NOT NULL DEFAULT uuid7(),
  kind         text NOT NULL,                    -- workspace.provision, pool.set, keys.rotate, ...
  subject_id   uuid,
  payload      jsonb NOT NULL DEFAULT '{}',
  seen_generation bigint,                        -- the generation the wisher saw
  actor        text NOT NULL,
  state        text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'done', 'refused')),
  outcome      text NOT NULL DEFAULT '',
  attempts     integer NOT NULL DEFAULT 0,
  created_at   timestamptz NOT NULL,
  finished_at  timestamptz,
  PRIMARY KEY (workspace_id, id)
);
CREATE INDEX commands_open ON commands (workspace_id, created_at) WHERE state = 'open';

CREATE FUNCTION announce_command() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('mailhearth_commands', '');
  RETURN NULL;
END $$;
CREATE TRIGGER commands_announce AFTER INSERT ON commands
  FOR EACH STATEMENT EXECUTE FUNCTION announce_command();

-- Append-only; a later sealer chains the rows. `personal` may be erased, the rest never changes.
CREATE TABLE audit_events (
  workspace_id uuid NOT NULL REFERENCES workspaces,
  id           uuid NOT NULL DEFAULT uuid7(),
  action       text NOT NULL,
  actor        text NOT NULL,
  subject      text NOT NULL DEFAULT '',
  detail       jsonb NOT NULL DEFAULT '{}',
  at           timestamptz NOT NULL,             -- machine time
  PRIMARY KEY (workspace_id, id)
);

CREATE TABLE platform_audit_events (
  id           uuid PRIMARY KEY DEFAULT uuid7(),
  action       text NOT NULL,
  actor        text NOT NULL,
  subject      text NOT NULL DEFAULT '',
  detail       jsonb NOT NULL DEFAULT '{}',
  at           timestamptz NOT NULL
);
