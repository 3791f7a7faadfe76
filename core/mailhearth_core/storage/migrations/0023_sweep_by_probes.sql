-- As before (0013), but each old row asks for its mailbox, its jobs and its bounces by key. As joins the planner may
-- read a whole table of them for one batch, and did: at ten million messages a sweep took eight times as long.

SET LOCAL ROLE @planner@;

CREATE OR REPLACE FUNCTION sched.sweep_outbound(p_before date, p_batch integer) RETURNS integer
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  WITH gone AS (
    DELETE FROM outbound WHERE ctid = ANY (ARRAY(
      SELECT o.ctid FROM outbound o
      WHERE o.day < p_before
        AND (o.state IN ('failed', 'skipped', 'cancelled')
          OR o.state IN ('sent', 'unconfirmed', 'bounced')
            AND (o.sent_expunged_at IS NOT NULL
              OR (SELECT m.state = 'removed' OR m.consent = 'none' FROM mailboxes m
                  WHERE m.workspace_id = o.workspace_id AND m.id = o.mailbox_id)))
        AND (SELECT a.id FROM action a WHERE a.workspace_id = o.workspace_id AND a.outbound_id = o.id LIMIT 1) IS NULL
        AND (SELECT b.outbound_id FROM domain_bounces b
             WHERE b.workspace_id = o.workspace_id AND b.outbound_id = o.id LIMIT 1) IS NULL
      ORDER BY o.day LIMIT p_batch FOR UPDATE OF o SKIP LOCKED)) RETURNING 1)
  SELECT count(*)::integer FROM gone
$$;

CREATE OR REPLACE FUNCTION sched.sweep_inbound(p_before date, p_batch integer) RETURNS integer
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  WITH gone AS (
    DELETE FROM inbound WHERE ctid = ANY (ARRAY(
      SELECT i.ctid FROM inbound i
      WHERE i.day < p_before AND i.reply_state NOT IN ('wished', 'bound')
        AND (i.state IN ('missing', 'unobservable')
          OR i.state = 'observed' AND (i.expunged_at IS NOT NULL
            OR (SELECT m.state = 'removed' OR m.consent = 'none' FROM mailboxes m
                WHERE m.workspace_id = i.workspace_id AND m.id = i.mailbox_id))
          OR i.state = 'expected' AND (SELECT o.id FROM outbound o WHERE o.pair_id = i.pair_id LIMIT 1) IS NULL)
        AND (SELECT a.id FROM action a WHERE a.workspace_id = i.workspace_id AND a.inbound_id = i.id LIMIT 1) IS NULL
        AND (SELECT o.id FROM outbound o
             WHERE o.workspace_id = i.workspace_id AND o.reply_to_inbound = i.id LIMIT 1) IS NULL
      ORDER BY i.day LIMIT p_batch FOR UPDATE OF i SKIP LOCKED)) RETURNING 1)
  SELECT count(*)::integer FROM gone
$$;

RESET ROLE;
