-- Retention: what is cold goes in batches, the mail itself too; and a workspace that is deleted first takes its
-- mail out of the mailboxes, where their credentials still work.

ALTER TABLE action DROP CONSTRAINT action_kind_check;
ALTER TABLE action ADD CONSTRAINT action_kind_check CHECK (kind IN ('send', 'poll', 'rescue', 'read', 'flag', 'file',
  'expunge', 'evidence', 'expunge_sent', 'check_domain', 'census', 'purge'));
CREATE UNIQUE INDEX action_one_purge ON action (workspace_id, mailbox_id)
  WHERE kind = 'purge' AND state IN ('pending', 'leased');
-- The order in which finished jobs are forgotten.
CREATE INDEX action_finished ON action (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX commands_finished ON commands (finished_at) WHERE state <> 'open';
CREATE INDEX day_sizes_day ON day_sizes (day);
CREATE INDEX controller_rows_day ON controller_rows (day);
CREATE INDEX rollups_day ON rollups (day);

ALTER TABLE outbound ADD COLUMN sent_expunged_at timestamptz;  -- the sender's own copy is gone, or there was none
-- What still lies in a mailbox: few weeks' mail, whatever the size of the tables.
CREATE INDEX outbound_kept ON outbound (workspace_id, mailbox_id, sending_at)
  WHERE state IN ('sent', 'uncertain', 'unconfirmed', 'bounced') AND sent_expunged_at IS NULL;
CREATE INDEX inbound_kept ON inbound (workspace_id, mailbox_id, observed_at)
  WHERE state = 'observed' AND expunged_at IS NULL;

GRANT UPDATE (sent_expunged_at) ON outbound TO @worker@;
GRANT SELECT, DELETE ON commands, day_sizes, controller_rows, outbound, rollups, domain_bounces, folder_states,
  domain_health, mailbox_leases, consent_ledger, sealed_credentials, mailboxes TO @planner@;
GRANT UPDATE (attempts) ON commands TO @planner@;  -- no more than locking a row needs
GRANT SELECT ON action, mailboxes, commands, business_clock TO @warden@;

SET LOCAL ROLE @planner@;

UPDATE outbound o SET sent_expunged_at = a.finished_at FROM action a
WHERE a.kind = 'expunge_sent' AND a.state = 'done' AND a.workspace_id = o.workspace_id AND a.outbound_id = o.id;
UPDATE action SET finished_at = due_at
WHERE finished_at IS NULL AND state IN ('done', 'skipped', 'cancelled', 'failed', 'uncertain');

-- A deleted workspace's mail may still be taken out of its mailboxes; all else of it is cancelled. Only this one
-- condition changes, whatever migrations before this one made of the function.
DO $$
DECLARE
  was text := pg_get_functiondef('sched.settle(timestamptz, timestamptz)'::regprocedure);
  becomes text := replace(was, 'WHEN w.state <> ''active'' THEN',
    'WHEN w.state <> ''active'' AND NOT (w.state = ''deleting'' AND a.kind = ''purge'') THEN');
BEGIN
  IF was = becomes THEN
    RAISE EXCEPTION 'sched.settle no longer has the condition that is to be changed';
  END IF;
  EXECUTE becomes;
END $$;

-- Every message that was sent or observed leaves its mailbox in the end: plans what should have been done an hour
-- ago and is not planned (its action failed, or was cancelled while consent was withdrawn), once a day at most.
CREATE FUNCTION sched.plan_expunges(p_now timestamptz, p_batch integer) RETURNS integer
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  WITH open AS (
    SELECT m.workspace_id, m.id AS mailbox_id,
      p_now - make_interval(hours => (p.policy ->> 'retention_hours')::integer + 1) AS kept_from
    FROM mailboxes m
    JOIN pools p ON p.workspace_id = m.workspace_id AND p.id = m.pool_id
    JOIN workspaces w ON w.workspace_id = m.workspace_id AND w.state = 'active'
    WHERE m.state <> 'removed' AND m.consent <> 'none' AND m.connected_at IS NOT NULL),
  lost AS (
    (SELECT i.workspace_id, i.mailbox_id, 'expunge' AS kind, NULL::uuid AS outbound_id, i.id AS inbound_id
     FROM open o JOIN inbound i ON i.workspace_id = o.workspace_id AND i.mailbox_id = o.mailbox_id
       AND i.state = 'observed' AND i.expunged_at IS NULL AND i.observed_at < o.kept_from
     WHERE NOT EXISTS (SELECT 1 FROM action a WHERE a.workspace_id = i.workspace_id AND a.inbound_id = i.id
       AND a.kind = 'expunge' AND (a.finished_at IS NULL OR a.finished_at > p_now - interval '24 hours'))
     LIMIT p_batch)
    UNION ALL
    (SELECT b.workspace_id, b.mailbox_id, 'expunge_sent', b.id, NULL
     FROM open o JOIN outbound b ON b.workspace_id = o.workspace_id AND b.mailbox_id = o.mailbox_id
       AND b.state IN ('sent', 'uncertain', 'unconfirmed', 'bounced') AND b.sent_expunged_at IS NULL
       AND b.sending_at < o.kept_from
     WHERE NOT EXISTS (SELECT 1 FROM action a WHERE a.workspace_id = b.workspace_id AND a.outbound_id = b.id
       AND a.kind = 'expunge_sent' AND (a.finished_at IS NULL OR a.finished_at > p_now - interval '24 hours'))
     LIMIT p_batch)),
  planned AS (
    INSERT INTO action (workspace_id, mailbox_id, kind, due_at, outbound_id, inbound_id)
    SELECT l.workspace_id, l.mailbox_id, l.kind, p_now, l.outbound_id, l.inbound_id FROM lost l RETURNING 1)
  SELECT count(*)::integer FROM planned
$$;

-- Finished jobs. Each sweep removes at most p_batch rows, oldest first, and passes over what is locked.
CREATE FUNCTION sched.sweep_actions(p_before timestamptz, p_batch integer) RETURNS integer
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  WITH gone AS (
    DELETE FROM action WHERE ctid = ANY (ARRAY(
      SELECT a.ctid FROM action a
      WHERE a.finished_at < p_before AND a.state IN ('done', 'skipped', 'cancelled', 'failed', 'uncertain')
      ORDER BY a.finished_at LIMIT p_batch FOR UPDATE SKIP LOCKED)) RETURNING 1)
  SELECT count(*)::integer FROM gone
$$;

-- Ended wishes; p_before is machine time.
CREATE FUNCTION sched.sweep_commands(p_before timestamptz, p_batch integer) RETURNS integer
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  WITH gone AS (
    DELETE FROM commands WHERE ctid = ANY (ARRAY(
      SELECT c.ctid FROM commands c WHERE c.state <> 'open' AND c.finished_at < p_before
      ORDER BY c.finished_at LIMIT p_batch FOR UPDATE SKIP LOCKED)) RETURNING 1)
  SELECT count(*)::integer FROM gone
$$;

-- Messages' halves, each by itself: ended, with nothing left to do, and no longer in a mailbox that may be signed
-- in to.
CREATE FUNCTION sched.sweep_outbound(p_before date, p_batch integer) RETURNS integer
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  WITH gone AS (
    DELETE FROM outbound WHERE ctid = ANY (ARRAY(
      SELECT o.ctid FROM outbound o
      JOIN mailboxes m ON m.workspace_id = o.workspace_id AND m.id = o.mailbox_id
      WHERE o.day < p_before
        AND (o.state IN ('failed', 'skipped', 'cancelled')
          OR o.state IN ('sent', 'unconfirmed', 'bounced')
            AND (o.sent_expunged_at IS NOT NULL OR m.state = 'removed' OR m.consent = 'none'))
        AND NOT EXISTS (SELECT 1 FROM action a WHERE a.workspace_id = o.workspace_id AND a.outbound_id = o.id)
        AND NOT EXISTS (SELECT 1 FROM domain_bounces b WHERE b.workspace_id = o.workspace_id AND b.outbound_id = o.id)
      ORDER BY o.day LIMIT p_batch FOR UPDATE OF o SKIP LOCKED)) RETURNING 1)
  SELECT count(*)::integer FROM gone
$$;

CREATE FUNCTION sched.sweep_inbound(p_before date, p_batch integer) RETURNS integer
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  WITH gone AS (
    DELETE FROM inbound WHERE ctid = ANY (ARRAY(
      -- Mailbox by mailbox: the index on the day is led by the mailbox.
      SELECT old.ctid FROM mailboxes m CROSS JOIN LATERAL (
      SELECT i.ctid FROM inbound i
      WHERE i.workspace_id = m.workspace_id AND i.mailbox_id = m.id
        AND i.day < p_before AND i.reply_state NOT IN ('wished', 'bound')
        AND (i.state IN ('missing', 'unobservable')
          OR i.state = 'observed' AND (i.expunged_at IS NOT NULL OR m.state = 'removed' OR m.consent = 'none')
          OR i.state = 'expected' AND NOT EXISTS (SELECT 1 FROM outbound o WHERE o.pair_id = i.pair_id))
        AND NOT EXISTS (SELECT 1 FROM action a WHERE a.workspace_id = i.workspace_id AND a.inbound_id = i.id)
        AND NOT EXISTS (SELECT 1 FROM outbound o WHERE o.workspace_id = i.workspace_id AND o.reply_to_inbound = i.id)
      ORDER BY i.day LIMIT p_batch FOR UPDATE SKIP LOCKED) old
      LIMIT p_batch)) RETURNING 1)
  SELECT count(*)::integer FROM gone
$$;

-- Sized days and controller rows but each mailbox's last, which the next day goes on from; bounces; daily sums.
CREATE FUNCTION sched.sweep_days(p_before date, p_sums_before date, p_batch integer) RETURNS integer
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  WITH sizes AS (
    DELETE FROM day_sizes WHERE ctid = ANY (ARRAY(
      SELECT s.ctid FROM day_sizes s WHERE s.day < p_before AND EXISTS (SELECT 1 FROM day_sizes l
        WHERE l.workspace_id = s.workspace_id AND l.mailbox_id = s.mailbox_id AND l.day > s.day)
      ORDER BY s.day LIMIT p_batch)) RETURNING 1),
  rows AS (
    DELETE FROM controller_rows WHERE ctid = ANY (ARRAY(
      SELECT c.ctid FROM controller_rows c WHERE c.day < p_before AND EXISTS (SELECT 1 FROM controller_rows l
        WHERE l.workspace_id = c.workspace_id AND l.mailbox_id = c.mailbox_id AND l.day > c.day)
      ORDER BY c.day LIMIT p_batch)) RETURNING 1),
  sums AS (
    DELETE FROM rollups WHERE ctid = ANY (ARRAY(
      SELECT r.ctid FROM rollups r WHERE r.day < p_sums_before ORDER BY r.day LIMIT p_batch)) RETURNING 1),
  bounces AS (
    DELETE FROM domain_bounces WHERE ctid = ANY (ARRAY(
      SELECT b.ctid FROM domain_bounces b WHERE b.at < p_before::timestamp AT TIME ZONE 'UTC' LIMIT p_batch)) RETURNING 1)
  SELECT greatest((SELECT count(*) FROM sizes), (SELECT count(*) FROM rows), (SELECT count(*) FROM sums),
    (SELECT count(*) FROM bounces))::integer
$$;

-- Mailboxes removed before p_before of which no message is left, with what stands beside them; and what was known of
-- domains that no mailbox has any more.
CREATE FUNCTION sched.sweep_mailboxes(p_before timestamptz, p_batch integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
DECLARE
  m record;
  n integer := 0;
BEGIN
  FOR m IN SELECT x.workspace_id, x.id FROM mailboxes x
           WHERE x.state = 'removed' AND x.state_since < p_before
             AND NOT EXISTS (SELECT 1 FROM outbound o WHERE o.workspace_id = x.workspace_id AND o.mailbox_id = x.id)
             AND NOT EXISTS (SELECT 1 FROM inbound i WHERE i.workspace_id = x.workspace_id AND i.mailbox_id = x.id)
             AND NOT EXISTS (SELECT 1 FROM action a WHERE a.workspace_id = x.workspace_id AND a.mailbox_id = x.id)
           LIMIT p_batch LOOP
    DELETE FROM day_sizes WHERE workspace_id = m.workspace_id AND mailbox_id = m.id;
    DELETE FROM controller_rows WHERE workspace_id = m.workspace_id AND mailbox_id = m.id;
    DELETE FROM rollups WHERE workspace_id = m.workspace_id AND mailbox_id = m.id;
    DELETE FROM folder_states WHERE workspace_id = m.workspace_id AND mailbox_id = m.id;
    DELETE FROM mailbox_leases WHERE workspace_id = m.workspace_id AND mailbox_id = m.id;
    DELETE FROM consent_ledger WHERE workspace_id = m.workspace_id AND mailbox_id = m.id;
    DELETE FROM sealed_credentials WHERE workspace_id = m.workspace_id AND mailbox_id = m.id;
    DELETE FROM mailboxes WHERE workspace_id = m.workspace_id AND id = m.id;
    n := n + 1;
  END LOOP;
  DELETE FROM domain_health h WHERE h.next_check_at < p_before
    AND NOT EXISTS (SELECT 1 FROM mailboxes x WHERE x.workspace_id = h.workspace_id AND x.domain = h.domain
                    AND x.state <> 'removed');
  RETURN n;
END $$;

RESET ROLE;
SET LOCAL ROLE @steward@;

-- Begins the end of a workspace: nothing is planned or sent from here on. Its mail is taken out of the mailboxes
-- that can be signed in to; then the provisioner removes the rows and the keys. Asked again it changes nothing.
CREATE OR REPLACE FUNCTION steward.delete_workspace(p_workspace uuid, p_actor text, p_at timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
BEGIN
  UPDATE workspaces SET state = 'deleting' WHERE workspace_id = p_workspace AND state <> 'deleting';
  IF NOT FOUND THEN
    RETURN;
  END IF;
  INSERT INTO action (workspace_id, mailbox_id, kind, due_at)
  SELECT m.workspace_id, m.id, 'purge', coalesce((SELECT c.business_at FROM business_clock c), p_at)
  FROM mailboxes m
  WHERE m.workspace_id = p_workspace AND m.state IN ('active', 'paused') AND m.consent <> 'none'
    AND m.connected_at IS NOT NULL
    AND (EXISTS (SELECT 1 FROM inbound i WHERE i.workspace_id = m.workspace_id AND i.mailbox_id = m.id
                 AND i.state <> 'expected' AND i.expunged_at IS NULL)
      OR EXISTS (SELECT 1 FROM outbound o WHERE o.workspace_id = m.workspace_id AND o.mailbox_id = m.id
                 AND o.sending_at IS NOT NULL AND o.sent_expunged_at IS NULL));
  INSERT INTO commands (workspace_id, kind, actor, created_at) VALUES (p_workspace, 'workspace.delete', p_actor, p_at);
  INSERT INTO platform_audit_events (action, actor, subject, at)
  VALUES ('workspace.delete', p_actor, p_workspace::text, p_at);
END $$;
RESET ROLE;

SET LOCAL ROLE @warden@;

-- How many mailboxes of a workspace being deleted may still be emptied of its mail; 0 when that is done or when its
-- p_seconds are over (machine time since the wish). NULL: it is not being deleted.
CREATE FUNCTION warden.purging(p_workspace uuid, p_now timestamptz, p_seconds double precision) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT CASE WHEN e.ends_at > p_now THEN (
      SELECT count(*) FROM action a
      WHERE a.workspace_id = p_workspace AND a.kind = 'purge'
        AND (a.state = 'leased' OR a.state = 'pending' AND a.due_at <= coalesce(
          (SELECT b.business_at + (e.ends_at - p_now) * b.rate FROM business_clock b), e.ends_at)))
    ELSE 0 END
  FROM (SELECT min(c.created_at) + make_interval(secs => p_seconds) AS ends_at FROM commands c
        WHERE c.workspace_id = p_workspace AND c.kind = 'workspace.delete') e
  JOIN workspaces w ON w.workspace_id = p_workspace AND w.state = 'deleting'
$$;

-- Removes a workspace being deleted, at most p_batch rows at a time, what refers to others before what is referred
-- to: the tables are those of the catalogue that have a workspace. Peers' halves lose its addresses with the half
-- that goes, and what it was to send is expected no more. Returns the number of rows removed; at 0 only its name and
-- its wishes are left, which end_workspace removes once its keys and login are gone.
CREATE OR REPLACE FUNCTION warden.delete_workspace_batch(p_workspace uuid, p_batch integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
DECLARE
  t text;
  n bigint;
BEGIN
  IF NOT EXISTS (SELECT 1 FROM workspaces WHERE workspace_id = p_workspace AND state = 'deleting') THEN
    RETURN 0;
  END IF;
  FOR t IN
    WITH RECURSIVE tables AS (
      SELECT c.oid FROM pg_class c
      JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'workspace_id' AND NOT a.attisdropped
      WHERE c.relnamespace = 'mailhearth'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
        AND c.relname NOT IN ('workspaces', 'commands')),
    depths AS (
      SELECT x.oid, 0 AS depth FROM tables x
      UNION
      SELECT k.conrelid, d.depth + 1 FROM depths d
      JOIN pg_constraint k ON k.contype = 'f' AND k.confrelid = d.oid AND k.conrelid <> d.oid)
    SELECT c.relname FROM depths d JOIN pg_class c ON c.oid = d.oid
    GROUP BY c.relname ORDER BY max(d.depth) DESC, c.relname
  LOOP
    IF t = 'outbound' THEN
      WITH gone AS (
        DELETE FROM outbound WHERE ctid = ANY (ARRAY(
          SELECT o.ctid FROM outbound o WHERE o.workspace_id = p_workspace LIMIT p_batch)) RETURNING pair_id),
      withdrawn AS (
        DELETE FROM inbound i USING gone
        WHERE i.pair_id = gone.pair_id AND i.workspace_id <> p_workspace AND i.state = 'expected'),
      blanked AS (
        UPDATE inbound i SET sender_address = '', sender_name = '' FROM gone
        WHERE i.pair_id = gone.pair_id AND i.workspace_id <> p_workspace AND i.state <> 'expected')
      SELECT count(*) INTO n FROM gone;
    ELSIF t = 'inbound' THEN
      WITH gone AS (
        DELETE FROM inbound WHERE ctid = ANY (ARRAY(
          SELECT i.ctid FROM inbound i WHERE i.workspace_id = p_workspace LIMIT p_batch)) RETURNING pair_id),
      blanked AS (
        UPDATE outbound o SET peer_address = NULL, peer_name = NULL, smtp_reply = '' FROM gone
        WHERE o.pair_id = gone.pair_id AND o.workspace_id <> p_workspace AND o.peer_address IS NOT NULL)
      SELECT count(*) INTO n FROM gone;
    ELSE
      EXECUTE format('WITH gone AS (DELETE FROM %1$I WHERE ctid = ANY (ARRAY(SELECT ctid FROM %1$I '
        'WHERE workspace_id = $1 LIMIT $2)) RETURNING 1) SELECT count(*) FROM gone', t) INTO n USING p_workspace, p_batch;
    END IF;
    IF n > 0 THEN
      RETURN n;  -- one table at a time: what refers to it is gone already
    END IF;
  END LOOP;
  RETURN 0;
END $$;

RESET ROLE;
SET LOCAL ROLE @planner@;
REVOKE ALL ON FUNCTION sched.plan_expunges(timestamptz, integer), sched.sweep_actions(timestamptz, integer),
  sched.sweep_commands(timestamptz, integer), sched.sweep_outbound(date, integer), sched.sweep_inbound(date, integer),
  sched.sweep_days(date, date, integer), sched.sweep_mailboxes(timestamptz, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sched.plan_expunges(timestamptz, integer), sched.sweep_actions(timestamptz, integer),
  sched.sweep_commands(timestamptz, integer), sched.sweep_outbound(date, integer), sched.sweep_inbound(date, integer),
  sched.sweep_days(date, date, integer), sched.sweep_mailboxes(timestamptz, integer) TO @scheduler@;
RESET ROLE;
SET LOCAL ROLE @warden@;
REVOKE ALL ON FUNCTION warden.purging(uuid, timestamptz, double precision) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION warden.purging(uuid, timestamptz, double precision) TO @operator@;
RESET ROLE;
