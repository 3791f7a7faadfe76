-- Learning: what the controller has made of a mailbox, whether its placements are believed, and the counts
-- that both are decided on. The controller's rows hold the history; these columns are how it stands now.

ALTER TABLE mailboxes
  ADD COLUMN phase text NOT NULL DEFAULT 'healthy'
    CHECK (phase IN ('healthy', 'probation', 'quarantined', 'blocked')),
  ADD COLUMN phase_since date,                   -- the mailbox's local date
  ADD COLUMN phase_until date,                   -- of a quarantine, or the least of a block
  ADD COLUMN phase_cause text NOT NULL DEFAULT '',
  ADD COLUMN reviewed_at timestamptz,            -- business time; ends a block whose days are over
  ADD COLUMN is_sensor boolean NOT NULL DEFAULT true;
CREATE INDEX mailboxes_no_sensor ON mailboxes (id) WHERE NOT is_sensor;
GRANT UPDATE (phase, phase_since, phase_until, phase_cause, is_sensor) ON mailboxes TO @planner@;

SET LOCAL ROLE @planner@;

-- What each mailbox's mail of the seven dates before p_days came to, as its day begins. Placements with
-- recipients that are no sensors are left out. reviewed: somebody has looked at it since it was blocked.
CREATE FUNCTION sched.week_placements(p_workspaces uuid[], p_mailboxes uuid[], p_days date[])
RETURNS TABLE (workspace_id uuid, mailbox_id uuid, inbox integer, junk integer, other integer, missing integer,
  bounced integer, sent integer, reviewed boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  WITH blind AS (
    SELECT coalesce(array_agg(b.id::text), '{}') AS refs FROM mailboxes b WHERE NOT b.is_sensor)
  SELECT m.workspace_id, m.id, w.inbox, w.junk, w.other, w.missing, w.bounced, w.sent,
    coalesce(m.phase = 'blocked' AND (m.reviewed_at AT TIME ZONE m.timezone)::date >= m.phase_since, false)
  FROM unnest(p_workspaces, p_mailboxes, p_days) AS x(workspace_id, mailbox_id, day)
  JOIN mailboxes m ON m.workspace_id = x.workspace_id AND m.id = x.mailbox_id
  CROSS JOIN blind
  CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE c.counts AND c.placement IN ('inbox', 'tab'))::integer AS inbox,
      count(*) FILTER (WHERE c.counts AND c.placement = 'junk')::integer AS junk,
      count(*) FILTER (WHERE c.counts AND c.placement = 'other')::integer AS other,
      count(*) FILTER (WHERE c.counts AND c.placement = 'missing')::integer AS missing,
      count(*) FILTER (WHERE c.state = 'bounced')::integer AS bounced,
      count(*)::integer AS sent
    FROM (SELECT o.state, o.placement, o.state = 'sent' AND o.peer_ref <> ALL (blind.refs) AS counts FROM outbound o
          WHERE o.workspace_id = m.workspace_id AND o.mailbox_id = m.id AND o.day >= x.day - 7 AND o.day < x.day
            AND o.state IN ('sent', 'bounced')) c) w
$$;

-- Keeps with each mailbox what its controller has decided. Each element: workspace_id, mailbox_id, phase, since,
-- until, cause. Returns how many changed.
CREATE FUNCTION sched.note_phases(p_rows jsonb) RETURNS integer
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  WITH changed AS (
    UPDATE mailboxes m SET phase = r.phase, phase_since = r.since, phase_until = r.until, phase_cause = r.cause
    FROM jsonb_to_recordset(p_rows) AS r(workspace_id uuid, mailbox_id uuid, phase text, since date, until date,
      cause text)
    WHERE m.workspace_id = r.workspace_id AND m.id = r.mailbox_id
      AND (m.phase, m.phase_since, m.phase_until, m.phase_cause)
        IS DISTINCT FROM (r.phase, r.since, r.until, r.cause)
    RETURNING 1)
  SELECT count(*)::integer FROM changed
$$;

-- What recipients saw of senders, cohorts from p_from on, over all workspaces: ids and counts, nothing else. One
-- row for each pair whose recipient junked p_junk messages or more and p_percent of its mail; of the senders in
-- these rows one more each, for all their other recipients together (the nil UUID).
CREATE FUNCTION sched.sensor_counts(p_from date, p_junk integer, p_percent integer)
RETURNS TABLE (recipient uuid, sender uuid, placed integer, junk integer)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  WITH seen AS (
    SELECT o.peer_ref, o.mailbox_id AS sender, count(*) AS placed, count(*) FILTER (WHERE o.placement = 'junk') AS junk
    FROM outbound o
    WHERE o.day >= p_from AND o.state = 'sent' AND o.placement IN ('inbox', 'tab', 'junk', 'other', 'missing')
    GROUP BY 1, 2),
  suspects AS (
    SELECT m.id AS recipient, s.peer_ref
    FROM (SELECT x.peer_ref FROM seen x GROUP BY 1
          HAVING sum(x.junk) >= p_junk AND 100 * sum(x.junk) >= p_percent * sum(x.placed)) s
    JOIN mailboxes m ON m.id::text = s.peer_ref AND m.state <> 'removed'),
  pairs AS (
    SELECT u.recipient, s.sender, s.placed, s.junk FROM seen s JOIN suspects u ON u.peer_ref = s.peer_ref)
  SELECT p.recipient, p.sender, p.placed::integer, p.junk::integer FROM pairs p
  UNION ALL
  SELECT '00000000-0000-0000-0000-000000000000'::uuid, s.sender, sum(s.placed)::integer, sum(s.junk)::integer
  FROM seen s
  WHERE s.sender IN (SELECT p.sender FROM pairs p) AND s.peer_ref NOT IN (SELECT u.peer_ref FROM suspects u)
  GROUP BY s.sender
$$;

-- Names the recipients that are no sensors; all others are. Returns how many changed.
CREATE FUNCTION sched.set_sensors(p_excluded uuid[]) RETURNS integer
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  WITH changed AS (
    UPDATE mailboxes m SET is_sensor = NOT m.is_sensor
    WHERE m.is_sensor = (m.id = ANY (p_excluded)) RETURNING 1)
  SELECT count(*)::integer FROM changed
$$;

-- Lower limits bind at once: cancels what is not sent yet of a day that was sized for more than the policy allows
-- now, the last first, and all that a mailbox in quarantine or blocked still has. Returns how many.
CREATE FUNCTION sched.trim_days(p_now timestamptz) RETURNS integer
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  WITH over AS (
    SELECT a.workspace_id, a.id, o.id AS outbound_id, o.mailbox_id, o.day, l.most, l.why,
      row_number() OVER (PARTITION BY o.workspace_id, o.mailbox_id, o.day ORDER BY o.due_at, o.id) AS place
    FROM action a
    JOIN outbound o ON o.workspace_id = a.workspace_id AND o.id = a.outbound_id AND o.state IN ('planned', 'bound')
    JOIN mailboxes m ON m.workspace_id = a.workspace_id AND m.id = a.mailbox_id
    JOIN pools p ON p.workspace_id = m.workspace_id AND p.id = m.pool_id
    JOIN day_sizes s ON s.workspace_id = o.workspace_id AND s.mailbox_id = o.mailbox_id AND s.day = o.day
    CROSS JOIN LATERAL (
      SELECT CASE WHEN m.phase IN ('quarantined', 'blocked') THEN 0
          ELSE least((p.policy ->> 'cap')::integer,
            CASE WHEN m.has_campaign THEN (p.policy ->> 'campaign_cap')::integer END) END AS most,
        CASE WHEN m.phase IN ('quarantined', 'blocked') THEN m.phase || ': draining, nothing new is sent'
          ELSE 'the policy allows fewer now' END AS why) l
    WHERE a.kind = 'send' AND a.state IN ('waiting', 'pending') AND s.volume > l.most),
  gone AS (
    SELECT d.workspace_id, d.mailbox_id, d.day, (SELECT count(*) FROM outbound o
        WHERE o.workspace_id = d.workspace_id AND o.mailbox_id = d.mailbox_id AND o.day = d.day
          AND o.state IN ('sending', 'sent', 'uncertain', 'unconfirmed', 'bounced')) AS n
    FROM (SELECT DISTINCT workspace_id, mailbox_id, day FROM over) d),
  acts AS (
    UPDATE action a SET state = 'cancelled', reason = v.why, finished_at = p_now
    FROM over v JOIN gone g USING (workspace_id, mailbox_id, day)
    WHERE v.place + g.n > v.most AND a.workspace_id = v.workspace_id AND a.id = v.id
      AND a.state IN ('waiting', 'pending')
    RETURNING a.workspace_id, a.outbound_id, a.reason),
  outs AS (
    UPDATE outbound o SET state = 'cancelled', reason = acts.reason FROM acts
    WHERE o.workspace_id = acts.workspace_id AND o.id = acts.outbound_id AND o.state IN ('planned', 'bound')
    RETURNING o.workspace_id, o.pair_id, o.reply_to_inbound),
  twins AS (
    DELETE FROM inbound i USING outs WHERE i.pair_id = outs.pair_id AND i.state = 'expected'),
  wishes AS (
    UPDATE inbound i SET reply_state = 'wished' FROM outs
    WHERE i.workspace_id = outs.workspace_id AND i.id = outs.reply_to_inbound AND i.reply_state = 'bound')
  SELECT count(*)::integer FROM acts
$$;

-- How many mailboxes stand where, for the metric: what stops one from sending, or else its phase.
CREATE FUNCTION sched.mailbox_states() RETURNS TABLE (state text, mailboxes bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT CASE
      WHEN m.consent = 'none' THEN 'off'
      WHEN m.auth_failures >= coalesce((p.policy ->> 'exclude_after_failures')::integer, 10) THEN 'excluded'
      WHEN m.state = 'needs_reauth' THEN 'needs_reauth'
      WHEN m.state = 'paused' THEN 'draining'
      ELSE m.phase END, count(*)
  FROM mailboxes m
  JOIN pools p ON p.workspace_id = m.workspace_id AND p.id = m.pool_id
  WHERE m.state <> 'removed' GROUP BY 1
$$;

-- As before, but nobody writes to a mailbox that is blocked.
CREATE OR REPLACE FUNCTION sched.peering_snapshot(p_now timestamptz)
RETURNS TABLE (mailbox_id uuid, workspace_id uuid, pool_id uuid, scope text, network_consent boolean, address text,
  display_name text, domain text, provider text, accepts boolean, connecting boolean, timezone text, policy jsonb,
  volume integer)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  WITH domains AS (
    SELECT d.workspace_id, d.domain, sched.domain_blocked(d.workspace_id, d.domain, p_now) AS blocked
    FROM (SELECT DISTINCT m.workspace_id, m.domain FROM mailboxes m WHERE m.state <> 'removed') d)
  SELECT m.id, m.workspace_id, m.pool_id, p.peering_scope, m.consent = 'network', m.address, m.display_name,
    m.domain, m.peer_provider,
    m.state IN ('active', 'needs_reauth') AND m.connected_at IS NOT NULL AND m.consent <> 'none'
      AND m.auth_failures < coalesce((p.policy ->> 'exclude_after_failures')::integer, 10)
      AND w.state = 'active' AND d.blocked IS NULL AND m.phase <> 'blocked',
    -- About to sign in for the first time: it will accept in a moment.
    m.state = 'active' AND m.connected_at IS NULL AND m.consent <> 'none' AND m.last_error = '' AND w.state = 'active',
    m.timezone, p.policy,
    coalesce((SELECT s.volume FROM day_sizes s WHERE s.workspace_id = m.workspace_id AND s.mailbox_id = m.id
              ORDER BY s.day DESC LIMIT 1), 0)
  FROM mailboxes m
  JOIN pools p ON p.workspace_id = m.workspace_id AND p.id = m.pool_id
  JOIN workspaces w ON w.workspace_id = m.workspace_id
  JOIN domains d ON d.workspace_id = m.workspace_id AND d.domain = m.domain
  WHERE m.state <> 'removed'
$$;

-- As before, but a mailbox that is blocked is a lost peer too.
CREATE OR REPLACE FUNCTION sched.unbind_lost_peers(p_now timestamptz) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
DECLARE
  n integer;
BEGIN
  WITH lost AS (
    SELECT o.workspace_id, o.id, o.pair_id, o.kind, o.reply_to_inbound
    FROM outbound o
    JOIN mailboxes s ON s.workspace_id = o.workspace_id AND s.id = o.mailbox_id
    LEFT JOIN inbound i ON i.pair_id = o.pair_id
    LEFT JOIN mailboxes m ON m.workspace_id = i.workspace_id AND m.id = i.mailbox_id
    LEFT JOIN pools p ON p.workspace_id = m.workspace_id AND p.id = m.pool_id
    LEFT JOIN workspaces w ON w.workspace_id = m.workspace_id
    WHERE o.state = 'bound'
      AND (i.id IS NULL OR m.state NOT IN ('active', 'needs_reauth') OR m.consent = 'none' OR m.phase = 'blocked'
           OR m.auth_failures >= coalesce((p.policy ->> 'exclude_after_failures')::integer, 10)
           OR w.state <> 'active' OR sched.domain_blocked(m.workspace_id, m.domain, p_now) IS NOT NULL
           OR (i.workspace_id <> o.workspace_id AND (m.consent <> 'network' OR s.consent <> 'network')))),
  freed AS (
    UPDATE action a SET state = 'waiting', attempt = 0 FROM lost
    WHERE a.workspace_id = lost.workspace_id AND a.outbound_id = lost.id AND a.kind = 'send' AND a.state = 'pending'
    RETURNING lost.*),
  halves AS (
    DELETE FROM inbound i USING freed WHERE i.pair_id = freed.pair_id AND i.state = 'expected'),
  wishes AS (
    UPDATE inbound i SET reply_state = 'expired' FROM freed
    WHERE freed.kind = 'reply' AND i.workspace_id = freed.workspace_id AND i.id = freed.reply_to_inbound),
  unbound AS (
    UPDATE outbound o SET state = 'planned', kind = 'thread', pair_id = NULL, peer_ref = NULL, peer_address = NULL,
      peer_domain = NULL, peer_name = NULL, message_id = NULL, subject = NULL, seed = NULL, library = NULL,
      thread_id = NULL, turn = 0, in_reply_to = NULL, refs = '{}', reply_to_inbound = NULL,
      bind_reason = 'the peer bound before no longer takes part'
    FROM freed WHERE o.workspace_id = freed.workspace_id AND o.id = freed.id
    RETURNING 1)
  SELECT count(*) INTO n FROM unbound;
  RETURN n;
END $$;

REVOKE ALL ON FUNCTION sched.week_placements(uuid[], uuid[], date[]), sched.note_phases(jsonb),
  sched.sensor_counts(date, integer, integer), sched.set_sensors(uuid[]), sched.mailbox_states(),
  sched.trim_days(timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sched.week_placements(uuid[], uuid[], date[]), sched.note_phases(jsonb),
  sched.sensor_counts(date, integer, integer), sched.set_sensors(uuid[]), sched.mailbox_states(),
  sched.trim_days(timestamptz) TO @scheduler@;
RESET ROLE;
