-- The command line's and the administration's ways across workspaces, and the operator's.

SET LOCAL ROLE @steward@;

CREATE FUNCTION steward.create_workspace(p_name text, p_actor text, p_at timestamptz) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
DECLARE
  ws uuid;
BEGIN
  INSERT INTO workspaces (name, created_at) VALUES (p_name, p_at) RETURNING workspace_id INTO ws;
  INSERT INTO commands (workspace_id, kind, actor, created_at) VALUES (ws, 'workspace.provision', p_actor, p_at);
  INSERT INTO audit_events (workspace_id, action, actor, subject, at)
  VALUES (ws, 'workspace.created', p_actor, p_name, p_at);
  INSERT INTO platform_audit_events (action, actor, subject, at)
  VALUES ('workspace.created', p_actor, ws::text, p_at);
  RETURN ws;
END $$;

-- Begins the end of a workspace: nothing is planned or sent from here on; the operator removes the rows.
CREATE FUNCTION steward.delete_workspace(p_workspace uuid, p_actor text, p_at timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
BEGIN
  UPDATE workspaces SET state = 'deleting' WHERE workspace_id = p_workspace;
  INSERT INTO commands (workspace_id, kind, actor, created_at) VALUES (p_workspace, 'workspace.delete', p_actor, p_at);
  INSERT INTO platform_audit_events (action, actor, subject, at)
  VALUES ('workspace.delete', p_actor, p_workspace::text, p_at);
END $$;

CREATE FUNCTION steward.end_sending(p_at timestamptz) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  UPDATE business_clock SET sending_ends = p_at
$$;

-- One scan of every folder of every mailbox, to count copies. Returns how many scans were planned.
CREATE FUNCTION steward.plan_census(p_now timestamptz) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  WITH planned AS (
    INSERT INTO action (workspace_id, mailbox_id, kind, due_at)
    SELECT m.workspace_id, m.id, 'census', p_now FROM mailboxes m
    WHERE m.state <> 'removed' AND m.consent <> 'none' RETURNING 1)
  SELECT count(*) FROM planned
$$;

CREATE VIEW admin.workspaces AS
  SELECT w.workspace_id, w.name, w.state, w.state_reason, w.managed_by, w.created_at,
    (SELECT count(*) FROM pools p WHERE p.workspace_id = w.workspace_id) AS pools,
    (SELECT count(*) FROM mailboxes m WHERE m.workspace_id = w.workspace_id AND m.state <> 'removed') AS mailboxes,
    (SELECT max(k.version) FROM key_versions k WHERE k.workspace_id = w.workspace_id AND k.state = 'active') AS active_key
  FROM workspaces w;

CREATE VIEW admin.mailboxes AS
  SELECT m.workspace_id, w.name AS workspace, m.id AS mailbox_id, p.name AS pool, p.worker_group, m.address, m.domain,
    m.imap_host, m.smtp_host, m.state, m.state_reason, m.consent, m.auth_failures, m.last_error, m.connected_at,
    l.owner AS leased_by
  FROM mailboxes m
  JOIN workspaces w ON w.workspace_id = m.workspace_id
  JOIN pools p ON p.workspace_id = m.workspace_id AND p.id = m.pool_id
  LEFT JOIN mailbox_leases l ON l.workspace_id = m.workspace_id AND l.mailbox_id = m.id
  WHERE m.state <> 'removed';

-- One row for each message that was to be sent: what a report counts.
CREATE VIEW admin.messages AS
  SELECT o.workspace_id, o.id, o.mailbox_id, o.day, o.kind, o.state, o.reason, o.due_at, o.sent_at, o.evidence,
    o.placement, o.peer_domain, o.message_id, i.state AS inbound_state, i.placement AS first_placement,
    i.observed_at, i.rescued_at, i.filed_at, i.expunged_at, i.copies, i.mailbox_id AS recipient_id,
    o.placement_provider, i.reply_state
  FROM outbound o LEFT JOIN inbound i ON i.pair_id = o.pair_id;

CREATE VIEW admin.actions AS
  SELECT a.workspace_id, a.id, a.mailbox_id, a.kind, a.state, a.reason, a.attempt, a.due_at, a.finished_at FROM action a;

CREATE VIEW admin.rollups AS SELECT * FROM rollups;
CREATE VIEW admin.day_sizes AS SELECT workspace_id, mailbox_id, day, volume, reasons, sized_at FROM day_sizes;
GRANT SELECT ON admin.workspaces, admin.mailboxes, admin.messages, admin.actions, admin.rollups, admin.day_sizes
  TO @admin@, @cli@;
RESET ROLE;

SET LOCAL ROLE @warden@;

CREATE FUNCTION warden.open_commands()
RETURNS TABLE (workspace_id uuid, id uuid, kind text, subject_id uuid, payload jsonb, seen_generation bigint,
  actor text, attempts integer)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT c.workspace_id, c.id, c.kind, c.subject_id, c.payload, c.seen_generation, c.actor, c.attempts
  FROM commands c WHERE c.state = 'open' ORDER BY c.created_at, c.id
$$;

CREATE FUNCTION warden.finish_command(p_workspace uuid, p_id uuid, p_state text, p_outcome text, p_at timestamptz)
RETURNS void LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  UPDATE commands SET state = p_state, outcome = p_outcome, attempts = attempts + 1,
    finished_at = CASE WHEN p_state = 'open' THEN NULL ELSE p_at END
  WHERE workspace_id = p_workspace AND id = p_id AND state = 'open'
$$;

CREATE FUNCTION warden.set_workspace_state(p_workspace uuid, p_state text, p_reason text) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  UPDATE workspaces SET state = p_state, state_reason = p_reason
  WHERE workspace_id = p_workspace AND state <> 'deleting'
$$;

CREATE FUNCTION warden.workspaces()
RETURNS TABLE (workspace_id uuid, name text, state text, state_reason text, managed_by text, has_login boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT w.workspace_id, w.name, w.state, w.state_reason, w.managed_by, EXISTS (SELECT 1 FROM pg_roles r
      WHERE r.rolname = '@prefix@_w_' || replace(w.workspace_id::text, '-', ''))
  FROM workspaces w ORDER BY w.created_at
$$;

CREATE FUNCTION warden.key_versions(p_workspace uuid)
RETURNS TABLE (version integer, state text, public_key bytea, fingerprint text, sealed bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT k.version, k.state, k.public_key, k.fingerprint,
    (SELECT count(*) FROM sealed_credentials s WHERE s.workspace_id = k.workspace_id AND s.key_version = k.version)
  FROM key_versions k WHERE k.workspace_id = p_workspace ORDER BY k.version
$$;

CREATE FUNCTION warden.add_key_version(p_workspace uuid, p_version integer, p_public bytea, p_fingerprint text,
  p_at timestamptz) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  INSERT INTO key_versions (workspace_id, version, state, public_key, fingerprint, created_at, state_since)
  VALUES (p_workspace, p_version, 'pending', p_public, p_fingerprint, p_at, p_at)
$$;

-- Makes one version the active one; the one before becomes retiring.
CREATE FUNCTION warden.activate_key(p_workspace uuid, p_version integer, p_at timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
BEGIN
  PERFORM 1 FROM key_versions WHERE workspace_id = p_workspace AND version = p_version AND state = 'pending' FOR UPDATE;
  IF NOT FOUND THEN
    RETURN;  -- never without an active key
  END IF;
  UPDATE key_versions SET state = 'retiring', state_since = p_at
  WHERE workspace_id = p_workspace AND state = 'active';
  UPDATE key_versions SET state = 'active', state_since = p_at
  WHERE workspace_id = p_workspace AND version = p_version AND state = 'pending';
END $$;

-- Archives retiring versions that seal nothing any more. Returns the versions archived.
CREATE FUNCTION warden.archive_keys(p_workspace uuid, p_at timestamptz) RETURNS SETOF integer
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  UPDATE key_versions k SET state = 'archived', state_since = p_at
  WHERE k.workspace_id = p_workspace AND k.state = 'retiring'
    AND NOT EXISTS (SELECT 1 FROM sealed_credentials s WHERE s.workspace_id = k.workspace_id AND s.key_version = k.version)
  RETURNING k.version
$$;

CREATE FUNCTION warden.mark_key_destroyed(p_workspace uuid, p_version integer, p_at timestamptz) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  WITH d AS (UPDATE key_versions k SET state = 'destroyed', state_since = p_at
    WHERE k.workspace_id = p_workspace AND k.version = p_version AND k.state IN ('archived', 'destroyed') RETURNING 1)
  SELECT EXISTS (SELECT 1 FROM d)
$$;

CREATE FUNCTION warden.create_pool(p_workspace uuid, p_name text, p_policy jsonb, p_scope text, p_group text,
  p_managed_by text, p_external jsonb, p_external_generation bigint, p_at timestamptz) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
DECLARE
  pool uuid;
BEGIN
  INSERT INTO worker_groups VALUES (p_group, p_at) ON CONFLICT DO NOTHING;
  INSERT INTO pools (workspace_id, name, policy, peering_scope, worker_group, managed_by, external_ref,
    external_generation, created_at)
  VALUES (p_workspace, p_name, p_policy, p_scope, p_group, p_managed_by, p_external, p_external_generation, p_at)
  RETURNING id INTO pool;
  RETURN pool;
END $$;

CREATE FUNCTION warden.pool(p_workspace uuid, p_pool uuid)
RETURNS TABLE (id uuid, name text, policy jsonb, peering_scope text, generation bigint, managed_by text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT p.id, p.name, p.policy, p.peering_scope, p.generation, p.managed_by FROM pools p
  WHERE p.workspace_id = p_workspace AND p.id = p_pool
$$;

-- Writes a pool's projection if its generation is still the one seen. Returns the new generation or NULL.
CREATE FUNCTION warden.set_pool(p_workspace uuid, p_pool uuid, p_seen bigint, p_policy jsonb, p_scope text)
RETURNS bigint LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  UPDATE pools SET policy = p_policy, peering_scope = p_scope, generation = generation + 1
  WHERE workspace_id = p_workspace AND id = p_pool AND generation = p_seen
  RETURNING generation
$$;

-- A worker's login. The caller gives a SCRAM verifier, so that no clear password reaches the server's log.
CREATE FUNCTION warden.ensure_worker_login(p_workspace uuid, p_verifier text) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
DECLARE
  login text := '@prefix@_w_' || replace(p_workspace::text, '-', '');
BEGIN
  IF p_verifier !~ '^SCRAM-SHA-256\$' THEN
    RAISE EXCEPTION 'a SCRAM-SHA-256 verifier is needed, not a password';
  END IF;
  IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = login) THEN
    EXECUTE format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE INHERIT IN ROLE @worker@', login);
  END IF;
  EXECUTE format('ALTER ROLE %I PASSWORD %L', login, p_verifier);
  RETURN login;
END $$;

CREATE FUNCTION warden.drop_worker_login(p_workspace uuid) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
BEGIN
  EXECUTE format('DROP ROLE IF EXISTS %I', '@prefix@_w_' || replace(p_workspace::text, '-', ''));
END $$;

-- Removes a workspace being deleted, at most p_batch rows of each table at a time; peers' halves lose its
-- addresses, and what it was to send or to get is expected no more. Returns the number of rows removed; at 0
-- only its name and its wishes are left, which end_workspace removes once its keys and login are gone.
CREATE FUNCTION warden.delete_workspace_batch(p_workspace uuid, p_batch integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
DECLARE
  t text;
  n bigint;
  total bigint := 0;
BEGIN
  IF NOT EXISTS (SELECT 1 FROM workspaces WHERE workspace_id = p_workspace AND state = 'deleting') THEN
    RETURN 0;
  END IF;
  DELETE FROM inbound i USING outbound o
  WHERE o.workspace_id = p_workspace AND i.pair_id = o.pair_id AND i.workspace_id <> p_workspace
    AND i.state = 'expected';
  UPDATE inbound i SET sender_address = '', sender_name = '' FROM outbound o
  WHERE o.workspace_id = p_workspace AND i.pair_id = o.pair_id AND i.workspace_id <> p_workspace
    AND i.sender_address <> '';
  UPDATE outbound x SET peer_address = NULL, peer_name = NULL, smtp_reply = '' FROM inbound i
  WHERE i.workspace_id = p_workspace AND x.pair_id = i.pair_id AND x.workspace_id <> p_workspace
    AND x.peer_address IS NOT NULL;
  FOREACH t IN ARRAY ARRAY['connection_attempts', 'sealed_credentials', 'action', 'domain_bounces', 'outbound',
      'inbound', 'rollups', 'controller_rows', 'day_sizes', 'folder_states', 'mailbox_leases', 'domain_health',
      'consent_ledger', 'mailboxes', 'content_libraries', 'pools', 'memberships', 'key_versions',
      'audit_events'] LOOP
    EXECUTE format('WITH d AS (DELETE FROM %I WHERE ctid = ANY (ARRAY(SELECT ctid FROM %I WHERE workspace_id = $1 '
      'LIMIT $2)) RETURNING 1) SELECT count(*) FROM d', t, t) INTO n USING p_workspace, p_batch;
    total := total + n;
    IF n = p_batch THEN
      RETURN total;  -- more of this table is left; what refers to it is gone already
    END IF;
  END LOOP;
  RETURN total;
END $$;

-- The last of a deleted workspace. Refuses (by its foreign keys) while anything else of it is left.
CREATE FUNCTION warden.end_workspace(p_workspace uuid, p_at timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
BEGIN
  IF NOT EXISTS (SELECT 1 FROM workspaces WHERE workspace_id = p_workspace AND state = 'deleting') THEN
    RETURN;
  END IF;
  DELETE FROM commands WHERE workspace_id = p_workspace;
  DELETE FROM workspaces WHERE workspace_id = p_workspace;
  INSERT INTO platform_audit_events (action, actor, subject, at)
  VALUES ('workspace.deleted', 'provisioner', p_workspace::text, p_at);
END $$;

RESET ROLE;
DO $$
DECLARE
  f record;
BEGIN
  FOR f IN SELECT p.oid::regprocedure AS sig, n.nspname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
           WHERE n.nspname IN ('steward', 'warden') LOOP
    IF f.nspname = 'steward' THEN
      SET LOCAL ROLE @steward@;
      EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f.sig);
      EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO @cli@', f.sig);
    ELSE
      SET LOCAL ROLE @warden@;
      EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f.sig);
      EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO @operator@', f.sig);
    END IF;
    RESET ROLE;
  END LOOP;
END $$;
