-- Connecting mailboxes in a browser: attempts of more kinds, and imports that wait for a person's yes.

-- A worker does all of them, woken the same way. `held` waits for corrections and wakes nobody: a password that was
-- typed into a form with a mistake elsewhere, sealed for its servers.
ALTER TABLE connection_attempts
  ADD COLUMN kind text NOT NULL DEFAULT 'test' CHECK (kind IN ('test', 'discover', 'consent')),
  ADD COLUMN found jsonb NOT NULL DEFAULT '[]',  -- of a discovery: settings that may fit, the likeliest first
  DROP CONSTRAINT connection_attempts_state_check,
  ADD CONSTRAINT connection_attempts_state_check CHECK (state IN ('held', 'queued', 'running', 'ok', 'failed'));
-- A consent's code becomes a refresh token; the worker seals it in the code's place.
GRANT UPDATE (found, key_version, sealed) ON connection_attempts TO @worker@;

-- An uploaded list of mailboxes, looked at before it is carried out. Machine time, short-lived, outside backups.
CREATE UNLOGGED TABLE mailbox_imports (
  workspace_id uuid NOT NULL REFERENCES workspaces,
  id           uuid NOT NULL DEFAULT uuid7(),
  file_name    text NOT NULL,
  encoding     text NOT NULL,
  guessed      boolean NOT NULL,                 -- the encoding is a guess
  beyond       integer NOT NULL DEFAULT 0,       -- rows after the last that one import takes
  beyond_from  integer,                          -- the line of the first of them
  created_at   timestamptz NOT NULL,
  expires_at   timestamptz NOT NULL,
  PRIMARY KEY (workspace_id, id)
);
CREATE INDEX mailbox_imports_expiry ON mailbox_imports (expires_at);

-- A row without errors is a mailbox with its final id; its password is sealed for that id and its servers.
CREATE UNLOGGED TABLE mailbox_import_rows (
  workspace_id uuid NOT NULL,
  import_id    uuid NOT NULL,
  line         integer NOT NULL,                 -- of the file; the header is line 1
  address      text NOT NULL,                    -- as it is written there, if it is no mailbox
  errors       jsonb NOT NULL DEFAULT '[]',      -- [{"column": ..., "text": ...}]
  mailbox_id   uuid,
  settings     jsonb,                            -- nothing secret
  key_version  integer,
  imap_sealed  bytea,
  smtp_sealed  bytea,
  PRIMARY KEY (workspace_id, import_id, line),
  FOREIGN KEY (workspace_id, import_id) REFERENCES mailbox_imports (workspace_id, id) ON DELETE CASCADE,
  CHECK ((mailbox_id IS NULL) = (errors <> '[]')),
  CHECK ((mailbox_id IS NULL) = (imap_sealed IS NULL OR smtp_sealed IS NULL OR settings IS NULL))
);
CREATE INDEX mailbox_import_rows_wrong ON mailbox_import_rows (workspace_id, import_id, line) WHERE mailbox_id IS NULL;

DO $$
DECLARE
  t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['mailbox_imports', 'mailbox_import_rows'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY tenant ON %I TO @web@, @cli@ '
      'USING (workspace_id = (SELECT tenant_workspace())) '
      'WITH CHECK (workspace_id = (SELECT tenant_workspace()))', t);
    EXECUTE format('CREATE POLICY families ON %I TO @planner@, @warden@ USING (true) WITH CHECK (true)', t);
  END LOOP;
END $$;
GRANT SELECT, INSERT, DELETE ON mailbox_imports, mailbox_import_rows TO @web@, @cli@;
GRANT UPDATE (expires_at) ON mailbox_imports TO @web@, @cli@;  -- no more than locking a row needs
GRANT SELECT, DELETE ON mailbox_imports TO @planner@;
GRANT SELECT, DELETE ON mailbox_imports, mailbox_import_rows TO @warden@;

SET LOCAL ROLE @planner@;
CREATE FUNCTION sched.forget_imports() RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  DELETE FROM mailbox_imports WHERE expires_at < clock_timestamp()
$$;
REVOKE ALL ON FUNCTION sched.forget_imports() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sched.forget_imports() TO @scheduler@;

-- Imports that are over go with the attempts that are over; nothing else of the function changes.
DO $$
DECLARE
  was text := pg_get_functiondef('sched.settle(timestamptz, timestamptz)'::regprocedure);
  becomes text := replace(was, 'DELETE FROM connection_attempts c WHERE c.expires_at <',
    'PERFORM sched.forget_imports();' || chr(10) || '  DELETE FROM connection_attempts c WHERE c.expires_at <');
BEGIN
  IF was = becomes THEN
    RAISE EXCEPTION 'sched.settle no longer forgets connection attempts';
  END IF;
  EXECUTE becomes;
END $$;
RESET ROLE;
