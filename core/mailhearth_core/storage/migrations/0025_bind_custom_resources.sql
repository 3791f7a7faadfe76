-- A workspace and its pools bound to custom resources of a cluster: what the operator writes of them.

-- One resource, one workspace: (installation, namespace, name). Deleting the resource does not free its place.
CREATE UNIQUE INDEX workspaces_external ON workspaces
  ((external_ref ->> 'installation'), (external_ref ->> 'namespace'), (external_ref ->> 'name'))
  WHERE external_ref IS NOT NULL;

-- What a Secret in the cluster declares: kept to tell whether it changed, and which pool declared it.
ALTER TABLE mailboxes ADD COLUMN declared_by text, ADD COLUMN declared_digest text;
CREATE UNIQUE INDEX mailboxes_declared ON mailboxes (workspace_id, declared_by) WHERE declared_by IS NOT NULL;
GRANT SELECT (external_ref) ON workspaces, pools TO @web@;

GRANT UPDATE (state, state_reason, state_since, declared_by, declared_digest) ON mailboxes TO @warden@;

SET LOCAL ROLE @warden@;

-- As before, and when each version was made.
DROP FUNCTION warden.key_versions(uuid);
CREATE FUNCTION warden.key_versions(p_workspace uuid)
RETURNS TABLE (version integer, state text, public_key bytea, fingerprint text, sealed bigint, created_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT k.version, k.state, k.public_key, k.fingerprint,
    (SELECT count(*) FROM sealed_credentials s WHERE s.workspace_id = k.workspace_id AND s.key_version = k.version),
    k.created_at
  FROM key_versions k WHERE k.workspace_id = p_workspace ORDER BY k.version
$$;

-- The workspace of a resource, made when it is new. Another resource's workspace is never taken: the reference is the key.
-- p_known: the workspace that the resource has stood for; where it is unknown here nothing is made, and all is NULL.
CREATE FUNCTION warden.bind_workspace(p_ref jsonb, p_generation bigint, p_managed_by text, p_known uuid, p_at timestamptz)
RETURNS TABLE (workspace_id uuid, name text, state text, state_reason text, has_login boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
#variable_conflict use_column
DECLARE
  ws uuid;
BEGIN
  SELECT w.workspace_id INTO ws FROM workspaces w
  WHERE w.external_ref ->> 'installation' = p_ref ->> 'installation'
    AND w.external_ref ->> 'namespace' = p_ref ->> 'namespace' AND w.external_ref ->> 'name' = p_ref ->> 'name';
  IF NOT FOUND THEN
    IF p_known IS NOT NULL THEN
      RETURN QUERY SELECT NULL::uuid, NULL, NULL, NULL, NULL::boolean;
      RETURN;
    END IF;
    INSERT INTO workspaces (name, managed_by, external_ref, external_generation, created_at)
    VALUES (p_ref ->> 'name', p_managed_by, p_ref, p_generation, p_at) ON CONFLICT DO NOTHING
    RETURNING workspaces.workspace_id INTO ws;
    IF ws IS NULL THEN
      RETURN;  -- another operator was faster: look again
    END IF;
    INSERT INTO audit_events (workspace_id, action, actor, subject, detail, at)
    VALUES (ws, 'workspace.created', 'operator', p_ref ->> 'name', p_ref, p_at);
    INSERT INTO platform_audit_events (action, actor, subject, at)
    VALUES ('workspace.created', 'operator', ws::text, p_at);
  ELSE
    UPDATE workspaces w SET external_ref = p_ref, external_generation = p_generation, managed_by = p_managed_by
    WHERE w.workspace_id = ws AND (w.external_ref, w.external_generation, w.managed_by)
      IS DISTINCT FROM (p_ref, p_generation, p_managed_by);
  END IF;
  RETURN QUERY SELECT w.workspace_id, w.name, w.state, w.state_reason, EXISTS (SELECT 1 FROM pg_roles r
      WHERE r.rolname = '@prefix@_w_' || replace(w.workspace_id::text, '-', ''))
  FROM workspaces w WHERE w.workspace_id = ws;
END $$;

-- A workspace made in the dashboard gets the place of the resource that will stand for it. False: the place is taken.
CREATE FUNCTION warden.adopt_workspace(p_workspace uuid, p_ref jsonb) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
BEGIN
  UPDATE workspaces SET external_ref = p_ref, managed_by = 'cluster'
  WHERE workspace_id = p_workspace AND external_ref IS NULL AND state <> 'deleting';
  RETURN EXISTS (SELECT 1 FROM workspaces w WHERE w.workspace_id = p_workspace
    AND w.external_ref ->> 'installation' = p_ref ->> 'installation'
    AND w.external_ref ->> 'namespace' = p_ref ->> 'namespace' AND w.external_ref ->> 'name' = p_ref ->> 'name');
EXCEPTION WHEN unique_violation THEN
  RETURN false;
END $$;

-- All that stands for a resource, and what stands for none yet.
CREATE FUNCTION warden.bindings()
RETURNS TABLE (workspace_id uuid, name text, state text, state_reason text, managed_by text, external_ref jsonb)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT w.workspace_id, w.name, w.state, w.state_reason, w.managed_by, w.external_ref FROM workspaces w
$$;

-- One of them, and whether its workers have a login.
CREATE FUNCTION warden.binding(p_workspace uuid)
RETURNS TABLE (workspace_id uuid, name text, state text, state_reason text, managed_by text, external_ref jsonb,
  has_login boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT w.workspace_id, w.name, w.state, w.state_reason, w.managed_by, w.external_ref, EXISTS (SELECT 1 FROM pg_roles r
      WHERE r.rolname = '@prefix@_w_' || replace(w.workspace_id::text, '-', ''))
  FROM workspaces w WHERE w.workspace_id = p_workspace
$$;

-- Mail rests or goes on, as the resource says. A rest that an administrator ordered stays. p_reasons: all that the
-- operator may have given for a rest of its own.
CREATE FUNCTION warden.rest_workspace(p_workspace uuid, p_reason text, p_reasons text[]) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  WITH w AS (
    UPDATE workspaces SET state = 'suspended', state_reason = p_reason
    WHERE workspace_id = p_workspace AND state_reason <> p_reason
      AND (state IN ('provisioning', 'active') OR state = 'suspended' AND state_reason = ANY (p_reasons)) RETURNING 1)
  SELECT EXISTS (SELECT 1 FROM w)
$$;
CREATE FUNCTION warden.wake_workspace(p_workspace uuid, p_reason text, p_reasons text[]) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  WITH w AS (
    UPDATE workspaces SET state = 'active', state_reason = p_reason
    WHERE workspace_id = p_workspace AND (state, state_reason) IS DISTINCT FROM ('active', p_reason)
      AND (state IN ('provisioning', 'active') OR state = 'suspended' AND state_reason = ANY (p_reasons)) RETURNING 1)
  SELECT EXISTS (SELECT 1 FROM w)
$$;

-- A pool as its resource says; nothing is written when nothing differs. A pool that rests drains: its mailboxes are
-- paused, and go on as they were when it ends.
CREATE FUNCTION warden.project_pool(p_workspace uuid, p_name text, p_policy jsonb, p_scope text, p_group text,
  p_managed_by text, p_ref jsonb, p_generation bigint, p_resting boolean, p_at timestamptz)
RETURNS TABLE (pool_id uuid, generation bigint, mailboxes bigint, active bigint, quarantined bigint, unopened bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
#variable_conflict use_column
DECLARE
  pool uuid;
BEGIN
  INSERT INTO worker_groups VALUES (p_group, p_at) ON CONFLICT DO NOTHING;
  SELECT p.id INTO pool FROM pools p WHERE p.workspace_id = p_workspace AND p.name = p_name;
  IF NOT FOUND THEN
    INSERT INTO pools (workspace_id, name, policy, peering_scope, worker_group, managed_by, external_ref,
      external_generation, created_at)
    VALUES (p_workspace, p_name, p_policy, p_scope, p_group, p_managed_by, p_ref, p_generation, p_at)
    ON CONFLICT (workspace_id, name) DO UPDATE SET name = excluded.name
    RETURNING id INTO pool;
  END IF;
  UPDATE pools p SET policy = p_policy, peering_scope = p_scope, worker_group = p_group, managed_by = p_managed_by,
    external_ref = p_ref, external_generation = p_generation,
    generation = p.generation
      + ((p.policy, p.peering_scope) IS DISTINCT FROM (p_policy, p_scope))::integer
  WHERE p.workspace_id = p_workspace AND p.id = pool
    AND (p.policy, p.peering_scope, p.worker_group, p.managed_by, p.external_ref, p.external_generation)
      IS DISTINCT FROM (p_policy, p_scope, p_group, p_managed_by, p_ref, p_generation);
  IF p_resting THEN
    UPDATE mailboxes m SET state = 'paused', state_reason = 'its pool is suspended', state_since = p_at
    WHERE m.workspace_id = p_workspace AND m.pool_id = pool AND m.state = 'active';
  ELSE
    UPDATE mailboxes m SET state = 'active', state_reason = '', state_since = p_at
    WHERE m.workspace_id = p_workspace AND m.pool_id = pool AND m.state = 'paused'
      AND m.state_reason = 'its pool is suspended';
  END IF;
  RETURN QUERY
  SELECT p.id, p.generation, count(m.id), count(m.id) FILTER (WHERE m.state = 'active' AND m.consent <> 'none'),
    count(m.id) FILTER (WHERE m.phase IN ('quarantine', 'blocked')),
    (SELECT count(DISTINCT s.mailbox_id) FROM sealed_credentials s JOIN mailboxes b
       ON b.workspace_id = s.workspace_id AND b.id = s.mailbox_id AND b.pool_id = p.id
     WHERE s.workspace_id = p_workspace AND s.unopened = s.generation)
  FROM pools p LEFT JOIN mailboxes m ON m.workspace_id = p.workspace_id AND m.pool_id = p.id AND m.state <> 'removed'
  WHERE p.workspace_id = p_workspace AND p.id = pool
  GROUP BY p.id, p.generation;
END $$;

-- The pool whose resource is gone: it drains until a resource of that name and namespace is there again.
CREATE FUNCTION warden.release_pool(p_installation text, p_namespace text, p_name text, p_at timestamptz) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  UPDATE mailboxes m SET state = 'paused', state_reason = 'its pool is suspended', state_since = p_at
  FROM pools p
  WHERE p.external_ref ->> 'installation' = p_installation AND p.external_ref ->> 'namespace' = p_namespace
    AND p.external_ref ->> 'name' = p_name
    AND m.workspace_id = p.workspace_id AND m.pool_id = p.id AND m.state = 'active'
$$;

-- Where the resources of all pools are or were.
CREATE FUNCTION warden.pool_places(p_installation text) RETURNS TABLE (namespace text, name text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT p.external_ref ->> 'namespace', p.external_ref ->> 'name' FROM pools p
  WHERE p.external_ref ->> 'installation' = p_installation
$$;

-- The mailboxes that a resource's Secrets declared, with the digest of each Secret as it was taken in.
CREATE FUNCTION warden.declared(p_workspace uuid, p_pool uuid)
RETURNS TABLE (mailbox_id uuid, address text, secret text, digest text, state text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT m.id, m.address, m.declared_by, m.declared_digest, m.state FROM mailboxes m
  WHERE m.workspace_id = p_workspace AND m.pool_id = p_pool AND m.declared_by IS NOT NULL AND m.state <> 'removed'
$$;

CREATE FUNCTION warden.note_declared(p_workspace uuid, p_mailbox uuid, p_secret text, p_digest text) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  -- One that was removed by hand, and is declared still, has been added anew.
  UPDATE mailboxes SET declared_by = NULL, declared_digest = NULL
  WHERE workspace_id = p_workspace AND declared_by = p_secret AND id <> p_mailbox AND state = 'removed';
  UPDATE mailboxes SET declared_by = p_secret, declared_digest = p_digest
  WHERE workspace_id = p_workspace AND id = p_mailbox
$$;

-- A pool of that name, for a wish: what its resource was when it was last projected.
CREATE FUNCTION warden.pool_binding(p_workspace uuid, p_pool uuid)
RETURNS TABLE (name text, policy jsonb, peering_scope text, generation bigint, managed_by text, external_ref jsonb,
  external_generation bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT p.name, p.policy, p.peering_scope, p.generation, p.managed_by, p.external_ref, p.external_generation
  FROM pools p WHERE p.workspace_id = p_workspace AND p.id = p_pool
$$;

-- Which workspaces a worker group serves.
CREATE FUNCTION warden.group_workspaces(p_group text) RETURNS TABLE (workspace_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT DISTINCT p.workspace_id FROM pools p WHERE p.worker_group = p_group
$$;
REVOKE ALL ON FUNCTION warden.bind_workspace(jsonb, bigint, text, uuid, timestamptz), warden.adopt_workspace(uuid, jsonb),
  warden.binding(uuid), warden.bindings(), warden.rest_workspace(uuid, text, text[]), warden.wake_workspace(uuid, text, text[]),
  warden.project_pool(uuid, text, jsonb, text, text, text, jsonb, bigint, boolean, timestamptz),
  warden.release_pool(text, text, text, timestamptz), warden.pool_places(text),
  warden.key_versions(uuid),
  warden.declared(uuid, uuid), warden.note_declared(uuid, uuid, text, text), warden.pool_binding(uuid, uuid),
  warden.group_workspaces(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION warden.bind_workspace(jsonb, bigint, text, uuid, timestamptz), warden.adopt_workspace(uuid, jsonb),
  warden.binding(uuid), warden.bindings(), warden.rest_workspace(uuid, text, text[]), warden.wake_workspace(uuid, text, text[]),
  warden.project_pool(uuid, text, jsonb, text, text, text, jsonb, bigint, boolean, timestamptz),
  warden.release_pool(text, text, text, timestamptz), warden.pool_places(text),
  warden.key_versions(uuid),
  warden.declared(uuid, uuid), warden.note_declared(uuid, uuid, text, text), warden.pool_binding(uuid, uuid),
  warden.group_workspaces(text) TO @operator@;
RESET ROLE;

SET LOCAL ROLE @signin@;
-- As before; but what others declare is deleted where it is declared, or it would be made anew.
CREATE OR REPLACE FUNCTION signin.delete_workspace(p_workspace uuid, p_actor text, p_now timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
DECLARE
  manager text;
BEGIN
  SELECT w.managed_by INTO manager FROM workspaces w WHERE w.workspace_id = p_workspace;
  IF manager NOT IN ('local', 'cluster') THEN
    RAISE EXCEPTION 'managed by %', manager USING ERRCODE = 'restrict_violation';
  END IF;
  PERFORM steward.delete_workspace(p_workspace, p_actor, p_now);
END $$;
RESET ROLE;
