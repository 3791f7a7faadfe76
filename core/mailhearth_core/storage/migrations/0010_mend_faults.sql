-- After a restore from a backup: how it is noticed, and what is not sent again. And a look for delivery
-- reports where nobody saw the mail.

ALTER TABLE installation ADD COLUMN beat bigint NOT NULL DEFAULT 0;  -- grows while a scheduler runs
GRANT UPDATE (beat) ON installation TO @planner@;
GRANT UPDATE (generation, restored_at) ON installation TO @steward@;
GRANT UPDATE (business_at, ticked_at) ON business_clock TO @steward@;
GRANT UPDATE (reply_state) ON inbound TO @steward@;

-- What a delivery report may still speak of: also what was looked for in vain.
DROP INDEX outbound_unanswered;
CREATE INDEX outbound_unanswered ON outbound (workspace_id, mailbox_id, sending_at)
  WHERE state IN ('sent', 'uncertain') AND (placement IS NULL OR placement IN ('missing', 'unobservable'));

SET LOCAL ROLE @planner@;

-- Counts on. A scheduler keeps what it saw last outside the database: one that goes back is a restored one.
CREATE FUNCTION sched.beat() RETURNS TABLE (generation bigint, beat bigint)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  UPDATE installation n SET beat = n.beat + 1 RETURNING n.generation, n.beat
$$;

-- A sender's mailbox is looked into for a delivery report 6 and 26 hours after a message that its
-- recipient had not found by then, unless it was looked into since. Returns how many looks were planned.
CREATE FUNCTION sched.plan_report_looks(p_now timestamptz, p_slot timestamptz) RETURNS integer
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  WITH silent AS (
    SELECT DISTINCT o.workspace_id, o.mailbox_id
    FROM outbound o
    JOIN mailboxes m ON m.workspace_id = o.workspace_id AND m.id = o.mailbox_id
      AND m.state IN ('active', 'paused') AND m.consent <> 'none'
    JOIN mailbox_leases l ON l.workspace_id = o.workspace_id AND l.mailbox_id = o.mailbox_id
    CROSS JOIN (VALUES (interval '6 hours'), (interval '26 hours')) AS look (after)
    WHERE o.state IN ('sent', 'uncertain') AND (o.placement IS NULL OR o.placement IN ('missing', 'unobservable'))
      AND o.sending_at > p_now - interval '7 days'
      AND o.sending_at + look.after <= p_now
      AND (l.last_poll_at IS NULL OR l.last_poll_at < o.sending_at + look.after)),
  planned AS (
    INSERT INTO action (workspace_id, mailbox_id, kind, due_at)
    SELECT s.workspace_id, s.mailbox_id, 'poll', p_slot FROM silent s
    ON CONFLICT DO NOTHING RETURNING 1)
  SELECT count(*)::integer FROM planned
$$;

REVOKE ALL ON FUNCTION sched.beat(), sched.plan_report_looks(timestamptz, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sched.beat(), sched.plan_report_looks(timestamptz, timestamptz) TO @scheduler@;
RESET ROLE;

SET LOCAL ROLE @carrier@;

-- As before, and: 'restored' for what was due before the database was restored; it may have been sent then.
CREATE OR REPLACE FUNCTION carry.claim_send(p_outbound uuid) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT CASE
    WHEN o.due_at <= n.restored_at THEN 'restored'
    WHEN w.state <> 'active' OR m.state <> 'active' OR m.consent = 'none' THEN 'own_mailbox'
    WHEN i.id IS NULL OR pw.state <> 'active' OR p.consent = 'none' OR p.state NOT IN ('active', 'needs_reauth')
      OR p.auth_failures >= coalesce((pp.policy ->> 'exclude_after_failures')::integer, 10)
      OR (p.workspace_id <> m.workspace_id AND (p.consent <> 'network' OR m.consent <> 'network')) THEN 'peer'
    ELSE 'ok' END
  FROM outbound o
  CROSS JOIN installation n
  JOIN mailboxes m ON m.workspace_id = o.workspace_id AND m.id = o.mailbox_id
  JOIN workspaces w ON w.workspace_id = o.workspace_id
  LEFT JOIN inbound i ON i.pair_id = o.pair_id
  LEFT JOIN mailboxes p ON p.workspace_id = i.workspace_id AND p.id = i.mailbox_id
  LEFT JOIN pools pp ON pp.workspace_id = p.workspace_id AND pp.id = p.pool_id
  LEFT JOIN workspaces pw ON pw.workspace_id = p.workspace_id
  WHERE o.workspace_id = worker_workspace() AND o.id = p_outbound
$$;

RESET ROLE;

SET LOCAL ROLE @steward@;

-- The database came from a backup. What was due before now may have been sent since the backup was made,
-- and a reply wished for before now may have been given: neither is done again. A sandbox's clock is set to
-- where it would be had it run on, as it may have run on before the restore. The generation is one that no
-- database of this installation has had. Returns it.
CREATE FUNCTION steward.restored(p_at timestamptz, p_actor text)
RETURNS TABLE (generation bigint, restored_at timestamptz)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
#variable_conflict use_column
DECLARE
  since timestamptz := p_at;
  machine timestamptz := clock_timestamp();
BEGIN
  UPDATE business_clock c SET ticked_at = machine,
    business_at = c.business_at + greatest(machine - c.ticked_at, interval '0') * c.rate
  RETURNING c.business_at INTO since;
  since := coalesce(since, p_at);
  UPDATE inbound SET reply_state = 'expired' WHERE reply_state IN ('wished', 'bound') AND reply_at <= since;
  INSERT INTO platform_audit_events (action, actor, subject, at)
  VALUES ('installation.restored', p_actor, since::text, machine);
  RETURN QUERY UPDATE installation n SET restored_at = greatest(n.restored_at, since),
    generation = greatest(n.generation + 1, extract(epoch FROM machine)::bigint)
  RETURNING n.generation, n.restored_at;
END $$;

REVOKE ALL ON FUNCTION steward.restored(timestamptz, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION steward.restored(timestamptz, text) TO @cli@;
RESET ROLE;
