-- A credential that was sealed to an older key and does not open keeps no worker awake; and a domain is looked at as
-- long as anybody writes to it.

-- The generation of the record that a worker found it cannot open; another generation may open again.
ALTER TABLE sealed_credentials ADD COLUMN unopened integer;
GRANT UPDATE (unopened) ON sealed_credentials TO @worker@;

SET LOCAL ROLE @planner@;

-- As before, but re-sealing is due only where a record may open. sched.to_reseal still names the others, ever more
-- rarely rung for, since a row that was edited may be edited back.
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
      WHERE s.workspace_id = r.workspace_id AND s.unopened IS DISTINCT FROM s.generation))
  SELECT w.worker_group, count(*) FILTER (WHERE w.due), count(*), min(w.due_at) FILTER (WHERE NOT w.due),
    min(w.due_at) FILTER (WHERE w.due),
    coalesce(string_agg(DISTINCT w.verb, ', ') FILTER (WHERE w.due), 'nothing is due')
  FROM work w GROUP BY w.worker_group
$$;

-- As before, and also where all mailboxes of a domain wait for re-authentication: others still write to them.
CREATE OR REPLACE FUNCTION sched.plan_domain_checks(p_now timestamptz, p_slot timestamptz) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
DECLARE
  n integer;
BEGIN
  INSERT INTO domain_health (workspace_id, domain, next_check_at)
  SELECT DISTINCT m.workspace_id, m.domain, p_now FROM mailboxes m
  WHERE m.state IN ('active', 'paused', 'needs_reauth') AND m.consent <> 'none'
  ON CONFLICT DO NOTHING;
  WITH due AS (
    UPDATE domain_health h SET next_check_at = p_now + interval '2 hours'
    WHERE h.next_check_at <= p_now
      AND EXISTS (SELECT 1 FROM mailboxes m JOIN workspaces w ON w.workspace_id = m.workspace_id AND w.state = 'active'
                  WHERE m.workspace_id = h.workspace_id AND m.domain = h.domain
                    AND m.state IN ('active', 'paused', 'needs_reauth') AND m.consent <> 'none')
    RETURNING h.workspace_id, h.domain),
  planned AS (
    INSERT INTO action (workspace_id, mailbox_id, kind, due_at)
    SELECT d.workspace_id, (SELECT m.id FROM mailboxes m WHERE m.workspace_id = d.workspace_id
        AND m.domain = d.domain AND m.state IN ('active', 'paused', 'needs_reauth') AND m.consent <> 'none'
        ORDER BY m.id LIMIT 1),
      'check_domain', p_slot
    FROM due d
    ON CONFLICT DO NOTHING RETURNING 1)
  SELECT count(*) INTO n FROM planned;
  RETURN n;
END $$;

RESET ROLE;
