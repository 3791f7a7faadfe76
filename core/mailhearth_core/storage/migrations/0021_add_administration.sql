-- Administration: what the login `admin` sees of the whole installation (views and functions of its schema alone), a
-- workspace suspended and let go on, a failed deed tried again through the outbox; and which request an event of the
-- audit trail came from.

CREATE INDEX audit_events_newest ON audit_events (workspace_id, at, id);
CREATE INDEX platform_audit_events_newest ON platform_audit_events (at, id);
CREATE INDEX action_failed ON action (finished_at) WHERE state IN ('failed', 'uncertain');
CREATE INDEX workspace_days_day ON workspace_days (day);
CREATE INDEX provider_days_day ON provider_days (day);
CREATE INDEX domain_bounces_at ON domain_bounces (at);
CREATE INDEX mailboxes_errors ON mailboxes (last_error_at) WHERE last_error <> '' AND state <> 'removed';

-- The request that an event belongs to, as the web names it for its transaction. It is a part of the detail, so the
-- chain covers it.
CREATE FUNCTION stamp_request() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF current_setting('mailhearth.request', true) <> '' AND jsonb_typeof(NEW.detail) = 'object' THEN
    NEW.detail := NEW.detail || jsonb_build_object('request', left(current_setting('mailhearth.request', true), 64));
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER audit_events_request BEFORE INSERT ON audit_events FOR EACH ROW EXECUTE FUNCTION stamp_request();
CREATE TRIGGER platform_audit_events_request BEFORE INSERT ON platform_audit_events
  FOR EACH ROW EXECUTE FUNCTION stamp_request();

GRANT SELECT ON platform_admins TO @steward@;
GRANT SELECT (issuer, user_id, signed_in_at) ON identities TO @steward@;
GRANT UPDATE (state, reason, attempt, lease_token, due_at, finished_at) ON action TO @warden@;

SET LOCAL ROLE @planner@;

-- As before, but counted by verb first: the names of what is due are few, the deeds many.
CREATE OR REPLACE FUNCTION sched.pool_demand(p_now timestamptz)
RETURNS TABLE (worker_group text, due_now bigint, backlog bigint, next_due_at timestamptz, oldest_due_at timestamptz,
  reason text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  WITH work AS (
    SELECT p.worker_group, a.kind AS verb, a.due_at, a.state <> 'waiting' AND a.due_at <= p_now AS due
    FROM action a
    JOIN mailboxes m ON m.workspace_id = a.workspace_id AND m.id = a.mailbox_id
    JOIN pools p ON p.workspace_id = m.workspace_id AND p.id = m.pool_id
    WHERE a.state IN ('waiting', 'pending', 'leased', 'sending')
    UNION ALL
    SELECT c.worker_group, 'test', p_now, true FROM connection_attempts c
    WHERE c.state IN ('queued', 'running') AND c.expires_at > clock_timestamp()
    UNION ALL
    SELECT r.worker_group, 'reseal', p_now, true FROM sched.to_reseal() r
    WHERE EXISTS (
      SELECT 1 FROM sealed_credentials s
      JOIN key_versions old ON old.workspace_id = s.workspace_id AND old.version = s.key_version
        AND old.state <> 'destroyed'
      JOIN key_versions k ON k.workspace_id = s.workspace_id AND k.state = 'active' AND k.version > s.key_version
      WHERE s.workspace_id = r.workspace_id AND s.unopened IS DISTINCT FROM s.generation)),
  verbs AS (
    SELECT w.worker_group, w.verb, count(*) FILTER (WHERE w.due) AS due, count(*) AS planned,
      min(w.due_at) FILTER (WHERE NOT w.due) AS next_at, min(w.due_at) FILTER (WHERE w.due) AS oldest_at
    FROM work w GROUP BY w.worker_group, w.verb)
  SELECT v.worker_group, sum(v.due)::bigint, sum(v.planned)::bigint, min(v.next_at), min(v.oldest_at),
    coalesce(string_agg(v.verb, ', ' ORDER BY v.verb) FILTER (WHERE v.due > 0), 'nothing is due')
  FROM verbs v GROUP BY v.worker_group
$$;

-- As before, but in a suspended workspace no connection is tried.
CREATE OR REPLACE FUNCTION sched.take_attempts()
RETURNS TABLE (worker_group text, workspace_id uuid, attempt_id uuid, wake_number bigint)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  UPDATE connection_attempts c SET woken_at = clock_timestamp()
  WHERE c.state = 'queued' AND c.expires_at > clock_timestamp()
    AND (c.woken_at IS NULL OR c.woken_at < clock_timestamp() - interval '15 seconds')
    AND NOT EXISTS (SELECT 1 FROM workspaces w WHERE w.workspace_id = c.workspace_id AND w.state = 'suspended')
  RETURNING c.worker_group, c.workspace_id, c.id, extract(epoch FROM clock_timestamp())::bigint
$$;
RESET ROLE;

SET LOCAL ROLE @warden@;

-- As before; and a workspace that an administrator suspended stays so.
CREATE OR REPLACE FUNCTION warden.set_workspace_state(p_workspace uuid, p_state text, p_reason text) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  UPDATE workspaces SET state = p_state, state_reason = p_reason
  WHERE workspace_id = p_workspace AND state NOT IN ('deleting', 'suspended')
$$;

-- Why a deed may not be tried again; NULL: it may. A message that may have left is never sent a second time.
CREATE FUNCTION warden.retry_refusal(p_workspace uuid, p_action uuid, p_now timestamptz) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT CASE
    -- A message that is `failed` was refused before it was accepted (see rebind_sending): nothing has left.
    WHEN a.state IN ('sending', 'uncertain') OR a.kind = 'send'
      AND o.state IN ('sending', 'sent', 'uncertain', 'unconfirmed', 'bounced')
      THEN 'the message may have left: it is never sent twice'
    WHEN a.state <> 'failed' THEN 'it is ' || a.state || ', not failed'
    WHEN w.state <> 'active' THEN 'its workspace is ' || w.state
    WHEN m.state = 'removed' OR m.consent = 'none' THEN 'its mailbox takes no part any more'
    WHEN a.not_after < p_now THEN 'its time is over'
    WHEN a.kind = 'send' AND o.state <> 'failed' THEN 'its message is ' || o.state
    WHEN EXISTS (SELECT 1 FROM domain_bounces b WHERE b.workspace_id = a.workspace_id AND b.outbound_id = a.outbound_id)
      THEN 'the recipient was refused, which counts as a bounce'
    WHEN a.kind = 'poll' AND EXISTS (SELECT 1 FROM action x WHERE x.workspace_id = a.workspace_id
        AND x.mailbox_id = a.mailbox_id AND x.kind = a.kind AND x.state = 'pending')
      OR a.kind IN ('check_domain', 'check_dns') AND EXISTS (SELECT 1 FROM action x
        WHERE x.workspace_id = a.workspace_id AND x.mailbox_id = a.mailbox_id AND x.kind = a.kind
          AND x.state IN ('pending', 'leased')) THEN 'another is planned already'
  END
  FROM action a
  JOIN mailboxes m ON m.workspace_id = a.workspace_id AND m.id = a.mailbox_id
  JOIN workspaces w ON w.workspace_id = a.workspace_id
  LEFT JOIN outbound o ON o.workspace_id = a.workspace_id AND o.id = a.outbound_id
  WHERE a.workspace_id = p_workspace AND a.id = p_action
$$;

-- Plans a failed deed again; a message anew with a peer that is chosen then. Returns why not, or NULL.
CREATE FUNCTION warden.retry_action(p_workspace uuid, p_action uuid, p_machine timestamptz) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
DECLARE
  business timestamptz := coalesce((SELECT c.business_at FROM business_clock c), p_machine);
  refusal text;
  held record;
BEGIN
  SELECT a.kind, a.outbound_id INTO held FROM action a
  WHERE a.workspace_id = p_workspace AND a.id = p_action FOR UPDATE;
  IF NOT FOUND THEN
    RETURN 'it is forgotten already';
  END IF;
  PERFORM 1 FROM outbound o WHERE o.workspace_id = p_workspace AND o.id = held.outbound_id FOR UPDATE;
  refusal := warden.retry_refusal(p_workspace, p_action, business);
  IF refusal IS NOT NULL THEN
    RETURN refusal;
  END IF;
  IF held.kind = 'send' THEN
    UPDATE outbound o SET state = 'planned', kind = 'thread', reason = '', due_at = business, sending_at = NULL,
      pair_id = NULL, peer_ref = NULL, peer_address = NULL, peer_domain = NULL, peer_name = NULL, message_id = NULL, subject = NULL,
      seed = NULL, library = NULL, thread_id = NULL, turn = 0, in_reply_to = NULL, refs = '{}',
      reply_to_inbound = NULL, smtp_reply = '', bind_reason = 'an administrator had it tried again'
    WHERE o.workspace_id = p_workspace AND o.id = held.outbound_id AND o.state = 'failed';
  END IF;
  UPDATE action a SET state = CASE a.kind WHEN 'send' THEN 'waiting' ELSE 'pending' END, reason = '', attempt = 0,
    lease_token = NULL, due_at = business, finished_at = NULL
  WHERE a.workspace_id = p_workspace AND a.id = p_action AND a.state = 'failed';
  RETURN NULL;
END $$;

REVOKE ALL ON FUNCTION warden.retry_refusal(uuid, uuid, timestamptz), warden.retry_action(uuid, uuid, timestamptz)
  FROM PUBLIC;
GRANT USAGE ON SCHEMA warden TO @steward@;
GRANT EXECUTE ON FUNCTION warden.retry_refusal(uuid, uuid, timestamptz) TO @steward@, @operator@;
GRANT EXECUTE ON FUNCTION warden.retry_action(uuid, uuid, timestamptz) TO @operator@;
RESET ROLE;

SET LOCAL ROLE @steward@;

-- ---- what is seen -----------------------------------------------------------------------------------------------

CREATE VIEW admin.installation AS
  SELECT n.id, n.environment, n.sandbox, n.generation, c.business_at
  FROM installation n LEFT JOIN business_clock c ON true;

CREATE VIEW admin.network_states AS
  SELECT m.state, m.phase, m.consent <> 'none' AS consented, m.connected_at IS NOT NULL AS connected,
    count(*)::integer AS n
  FROM mailboxes m WHERE m.state <> 'removed' GROUP BY 1, 2, 3, 4;

CREATE VIEW admin.network_days AS
  SELECT d.day, sum(d.volume)::integer AS volume, sum(d.planned)::integer AS planned, sum(d.sent)::integer AS sent,
    sum(d.replied)::integer AS replied, sum(d.bounced)::integer AS bounced, sum(d.rescued)::integer AS rescued,
    sum(d.inbox)::integer AS inbox, sum(d.junk)::integer AS junk, sum(d.other)::integer AS other,
    sum(d.missing)::integer AS missing, sum(d.unobservable)::integer AS unobservable
  FROM workspace_days d GROUP BY d.day;

CREATE VIEW admin.network_providers AS
  SELECT d.day, d.provider, sum(d.inbox)::integer AS inbox, sum(d.junk)::integer AS junk,
    sum(d.other)::integer AS other, sum(d.missing)::integer AS missing, sum(d.unobservable)::integer AS unobservable
  FROM provider_days d GROUP BY d.day, d.provider;

-- Messages of which nobody can say yet whether they left, and deeds that failed since p_since.
CREATE FUNCTION admin.open_questions(p_since timestamptz) RETURNS TABLE (uncertain integer, failed integer)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT (SELECT count(*) FROM outbound o WHERE o.state = 'uncertain')::integer,
    (SELECT count(*) FROM action a WHERE a.state IN ('failed', 'uncertain') AND a.state = 'failed'
       AND a.finished_at >= p_since)::integer
$$;

CREATE VIEW admin.pools AS
  SELECT p.workspace_id, w.name AS workspace, w.state AS workspace_state, p.id, p.name, p.policy, p.peering_scope,
    p.worker_group, p.managed_by, coalesce(m.mailboxes, 0) AS mailboxes, coalesce(m.members, 0) AS members,
    coalesce(m.network_members, 0) AS network_members, coalesce(m.warming, 0) AS warming
  FROM pools p
  JOIN workspaces w ON w.workspace_id = p.workspace_id
  LEFT JOIN (
    SELECT b.workspace_id, b.pool_id, count(*)::integer AS mailboxes,
      (count(*) FILTER (WHERE b.consent <> 'none' AND b.state IN ('active', 'needs_reauth')))::integer AS members,
      (count(*) FILTER (WHERE b.consent = 'network' AND b.state IN ('active', 'needs_reauth')))::integer
        AS network_members,
      (count(*) FILTER (WHERE b.consent <> 'none' AND b.state = 'active' AND b.connected_at IS NOT NULL
        AND b.phase IN ('healthy', 'probation')))::integer AS warming
    FROM mailboxes b WHERE b.state <> 'removed' GROUP BY 1, 2) m
    ON m.workspace_id = p.workspace_id AND m.pool_id = p.id;

CREATE VIEW admin.workspace_cards AS
  SELECT w.workspace_id, w.name, w.state, w.state_reason, w.managed_by, w.created_at,
    (SELECT count(*) FROM mailboxes m WHERE m.workspace_id = w.workspace_id AND m.state <> 'removed')::integer
      AS mailboxes,
    (SELECT count(*) FROM mailboxes m WHERE m.workspace_id = w.workspace_id AND m.state = 'active'
       AND m.consent <> 'none' AND m.connected_at IS NOT NULL AND m.phase IN ('healthy', 'probation'))::integer
      AS warming,
    (SELECT count(*) FROM memberships b WHERE b.workspace_id = w.workspace_id)::integer AS members,
    (SELECT count(*) FROM pools p WHERE p.workspace_id = w.workspace_id)::integer AS pools
  FROM workspaces w;

CREATE VIEW admin.workspace_states AS
  SELECT m.workspace_id, m.state, m.phase, m.consent <> 'none' AS consented, m.connected_at IS NOT NULL AS connected,
    count(*)::integer AS n
  FROM mailboxes m WHERE m.state <> 'removed' GROUP BY 1, 2, 3, 4, 5;

CREATE VIEW admin.workspace_days AS SELECT * FROM workspace_days;

CREATE VIEW admin.people AS
  SELECT u.id, u.email, u.display_name AS name, u.created_at,
    (SELECT count(*) FROM memberships b WHERE b.user_id = u.id)::integer AS workspaces,
    (SELECT max(i.signed_in_at) FROM identities i WHERE i.user_id = u.id) AS signed_in_at,
    a.granted_at, a.granted_by
  FROM users u LEFT JOIN platform_admins a ON a.user_id = u.id;

CREATE VIEW admin.errors AS
  SELECT m.last_error AS text, count(*)::integer AS mailboxes, count(DISTINCT m.workspace_id)::integer AS workspaces,
    max(m.last_error_at) AS last_at, min(m.address) AS example, min(m.workspace_id::text)::uuid AS workspace_id
  FROM mailboxes m WHERE m.last_error <> '' AND m.state <> 'removed' GROUP BY m.last_error;

-- Who works on mailboxes now: a lease ends with its work, or when its worker is gone. Machine time.
CREATE VIEW admin.leases AS
  SELECT l.owner, count(*)::integer AS mailboxes, count(DISTINCT l.workspace_id)::integer AS workspaces,
    min(l.expires_at) AS first_ends_at, max(l.expires_at) AS last_ends_at
  FROM mailbox_leases l WHERE l.owner IS NOT NULL GROUP BY l.owner;

CREATE VIEW admin.worker_groups AS
  SELECT p.worker_group AS name, count(*)::integer AS pools FROM pools p GROUP BY p.worker_group;

CREATE FUNCTION admin.demand(p_now timestamptz)
RETURNS TABLE (worker_group text, due_now bigint, backlog bigint, next_due_at timestamptz, oldest_due_at timestamptz,
  reason text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT * FROM sched.pool_demand(p_now)
$$;

-- Domains that are no peers now, by the workspace whose look or mailboxes say so.
CREATE FUNCTION admin.blocked_domains(p_now timestamptz)
RETURNS TABLE (workspace_id uuid, domain text, reason text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  WITH suspects AS (
    SELECT h.workspace_id, h.domain FROM domain_health h WHERE h.mx_ok = false OR h.smtp_ok = false
    UNION
    SELECT m.workspace_id, m.domain FROM mailboxes m
    WHERE m.state <> 'removed' AND m.domain IN (
      SELECT b.domain FROM domain_bounces b WHERE b.at > p_now - interval '7 days' GROUP BY b.domain
      HAVING count(*) >= 3))
  SELECT s.workspace_id, s.domain, r.reason FROM suspects s
  CROSS JOIN LATERAL (SELECT sched.domain_blocked(s.workspace_id, s.domain, p_now) AS reason OFFSET 0) r
  WHERE r.reason IS NOT NULL
$$;

-- Domains of mailboxes: the last look, bounces of the last seven days, what blocks them. Blocked ones first.
CREATE FUNCTION admin.domains(p_now timestamptz, p_word text, p_blocked boolean, p_limit integer, p_offset integer)
RETURNS TABLE (workspace_id uuid, workspace text, domain text, mailboxes integer, mx_ok boolean, smtp_ok boolean,
  detail text, checked_at timestamptz, bounces integer, reason text, total integer)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  WITH known AS (
    SELECT m.workspace_id, m.domain, count(*)::integer AS mailboxes FROM mailboxes m
    WHERE m.state <> 'removed' AND strpos(m.domain, lower(p_word)) > 0 GROUP BY 1, 2),
  blocked AS MATERIALIZED (SELECT * FROM admin.blocked_domains(p_now)),
  bounced AS (
    SELECT b.domain, count(*)::integer AS n FROM domain_bounces b WHERE b.at > p_now - interval '7 days' GROUP BY 1)
  SELECT k.workspace_id, w.name, k.domain, k.mailboxes, h.mx_ok, h.smtp_ok, coalesce(h.detail, ''), h.checked_at,
    coalesce(c.n, 0), b.reason, count(*) OVER ()::integer
  FROM known k
  JOIN workspaces w ON w.workspace_id = k.workspace_id
  LEFT JOIN domain_health h ON h.workspace_id = k.workspace_id AND h.domain = k.domain
  LEFT JOIN blocked b ON b.workspace_id = k.workspace_id AND b.domain = k.domain
  LEFT JOIN bounced c ON c.domain = k.domain
  WHERE NOT p_blocked OR b.reason IS NOT NULL
  ORDER BY b.reason IS NULL, coalesce(c.n, 0) DESC, k.domain, w.name LIMIT p_limit OFFSET p_offset
$$;

-- Deeds that failed or of which nobody can say, the latest first; `refusal` says why one cannot be tried again.
CREATE FUNCTION admin.failed_actions(p_now timestamptz, p_kind text, p_word text, p_limit integer, p_offset integer)
RETURNS TABLE (workspace_id uuid, workspace text, id uuid, kind text, state text, reason text, attempt integer,
  address text, correlation_id uuid, due_at timestamptz, finished_at timestamptz, refusal text, wished boolean,
  total integer)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  WITH found AS (
    SELECT a.workspace_id, w.name, a.id, a.kind, a.state, a.reason, a.attempt, m.address, a.outbound_id, a.inbound_id,
      a.due_at, a.finished_at, count(*) OVER ()::integer AS total
    FROM action a
    JOIN workspaces w ON w.workspace_id = a.workspace_id
    JOIN mailboxes m ON m.workspace_id = a.workspace_id AND m.id = a.mailbox_id
    WHERE a.state IN ('failed', 'uncertain') AND (p_kind = '' OR a.kind = p_kind)
      AND (p_word = '' OR strpos(m.address, lower(p_word)) > 0 OR strpos(w.name, lower(p_word)) > 0
        OR strpos(lower(a.reason), lower(p_word)) > 0)
    ORDER BY a.finished_at DESC NULLS FIRST, a.id LIMIT p_limit OFFSET p_offset)
  SELECT f.workspace_id, f.name, f.id, f.kind, f.state, f.reason, f.attempt, f.address,
    coalesce((SELECT o.correlation_id FROM outbound o WHERE o.workspace_id = f.workspace_id AND o.id = f.outbound_id),
      (SELECT i.correlation_id FROM inbound i WHERE i.workspace_id = f.workspace_id AND i.id = f.inbound_id)),
    f.due_at, f.finished_at, warden.retry_refusal(f.workspace_id, f.id, p_now),
    EXISTS (SELECT 1 FROM commands c WHERE c.workspace_id = f.workspace_id AND c.kind = 'action.retry'
      AND c.subject_id = f.id AND c.state = 'open'), f.total
  FROM found f ORDER BY f.finished_at DESC NULLS FIRST, f.id
$$;

-- ---- what is done -----------------------------------------------------------------------------------------------

-- Who does it, as the audit trail calls them; refused to whoever is no administrator (any more).
CREATE FUNCTION admin.called(p_user uuid) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
DECLARE
  name text;
BEGIN
  SELECT coalesce(nullif(u.email, ''), u.id::text) INTO name
  FROM users u JOIN platform_admins a ON a.user_id = u.id WHERE u.id = p_user;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'no administrator' USING ERRCODE = 'insufficient_privilege';
  END IF;
  RETURN name;
END $$;

-- Told in the workspace's chain and in the platform's.
CREATE FUNCTION admin.tell(p_workspace uuid, p_action text, p_actor text, p_detail jsonb, p_at timestamptz)
RETURNS void LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  INSERT INTO audit_events (workspace_id, action, actor, subject, detail, at)
  SELECT w.workspace_id, p_action, p_actor, w.name, p_detail, p_at FROM workspaces w
  WHERE w.workspace_id = p_workspace;
  INSERT INTO platform_audit_events (action, actor, subject, detail, at)
  VALUES (p_action, p_actor, p_workspace::text, p_detail, p_at)
$$;

-- Stops a workspace: nothing is sized, planned, claimed or sent from here on. False: it is not one that can be stopped.
CREATE FUNCTION admin.suspend_workspace(p_user uuid, p_workspace uuid, p_reason text, p_at timestamptz) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
DECLARE
  actor text := admin.called(p_user);
BEGIN
  UPDATE workspaces w SET state = 'suspended', state_reason = p_reason
  WHERE w.workspace_id = p_workspace AND w.state IN ('provisioning', 'active');
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  PERFORM admin.tell(p_workspace, 'workspace.suspended', actor, jsonb_build_object('reason', p_reason), p_at);
  RETURN true;
END $$;

-- Lets a suspended workspace go on; one that has no key yet is prepared first. False: it is not suspended.
CREATE FUNCTION admin.resume_workspace(p_user uuid, p_workspace uuid, p_reason text, p_at timestamptz) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
DECLARE
  actor text := admin.called(p_user);
BEGIN
  UPDATE workspaces w SET state_reason = '', state = CASE
    WHEN EXISTS (SELECT 1 FROM key_versions k WHERE k.workspace_id = p_workspace AND k.state = 'active') THEN 'active'
    ELSE 'provisioning' END
  WHERE w.workspace_id = p_workspace AND w.state = 'suspended';
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  PERFORM admin.tell(p_workspace, 'workspace.resumed', actor, jsonb_build_object('reason', p_reason), p_at);
  RETURN true;
END $$;

-- Wishes for a failed deed to be tried again. Returns why not, or NULL; the provisioner looks once more.
CREATE FUNCTION admin.wish_retry(p_user uuid, p_workspace uuid, p_action uuid, p_now timestamptz, p_at timestamptz)
RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
DECLARE
  actor text := admin.called(p_user);
  refusal text;
BEGIN
  PERFORM 1 FROM action a WHERE a.workspace_id = p_workspace AND a.id = p_action;
  IF NOT FOUND THEN
    RETURN 'it is forgotten already';
  END IF;
  refusal := warden.retry_refusal(p_workspace, p_action, p_now);
  IF refusal IS NOT NULL THEN
    RETURN refusal;
  END IF;
  IF EXISTS (SELECT 1 FROM commands c WHERE c.workspace_id = p_workspace AND c.kind = 'action.retry'
             AND c.subject_id = p_action AND c.state = 'open') THEN
    RETURN NULL;  -- asked for already
  END IF;
  INSERT INTO commands (workspace_id, kind, subject_id, actor, created_at)
  VALUES (p_workspace, 'action.retry', p_action, actor, p_at);
  PERFORM admin.tell(p_workspace, 'action.retried', actor, jsonb_build_object('action', p_action), p_at);
  RETURN NULL;
END $$;

REVOKE ALL ON FUNCTION admin.open_questions(timestamptz), admin.demand(timestamptz),
  admin.blocked_domains(timestamptz), admin.domains(timestamptz, text, boolean, integer, integer),
  admin.failed_actions(timestamptz, text, text, integer, integer), admin.called(uuid),
  admin.tell(uuid, text, text, jsonb, timestamptz), admin.suspend_workspace(uuid, uuid, text, timestamptz),
  admin.resume_workspace(uuid, uuid, text, timestamptz), admin.wish_retry(uuid, uuid, uuid, timestamptz, timestamptz)
  FROM PUBLIC;
GRANT EXECUTE ON FUNCTION admin.open_questions(timestamptz), admin.demand(timestamptz),
  admin.blocked_domains(timestamptz), admin.domains(timestamptz, text, boolean, integer, integer),
  admin.failed_actions(timestamptz, text, text, integer, integer),
  admin.suspend_workspace(uuid, uuid, text, timestamptz), admin.resume_workspace(uuid, uuid, text, timestamptz),
  admin.wish_retry(uuid, uuid, uuid, timestamptz, timestamptz) TO @admin@;
GRANT SELECT ON admin.installation, admin.network_states, admin.network_days, admin.network_providers, admin.pools,
  admin.workspace_cards, admin.workspace_states, admin.workspace_days, admin.people, admin.errors, admin.leases,
  admin.worker_groups TO @admin@;
RESET ROLE;
