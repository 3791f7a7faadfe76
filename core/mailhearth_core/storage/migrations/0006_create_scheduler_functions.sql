-- The scheduler holds EXECUTE on these and nothing else. p_now is business time.

SET LOCAL ROLE @planner@;

-- Moves a scaled clock on, by at most p_max_step machine seconds' worth and never by more than half an
-- hour, so that no step of a pass is jumped over. It stands still one machine second (half an hour at
-- most) past the oldest due action until that is done, so that load never looks like lateness.
CREATE FUNCTION sched.tick(p_max_step double precision)
RETURNS TABLE (business_at timestamptz, sending_ends timestamptz, stalled boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
#variable_conflict use_column
DECLARE
  c business_clock%ROWTYPE;
  late boolean;
  step double precision;
  next timestamptz;
  stop timestamptz;
  machine timestamptz := clock_timestamp();
BEGIN
  SELECT * INTO c FROM business_clock FOR UPDATE;
  IF NOT FOUND THEN
    RETURN QUERY SELECT machine, NULL::timestamptz, false;
    RETURN;
  END IF;
  step := least(greatest(extract(epoch FROM machine - c.ticked_at), 0), p_max_step);
  next := c.business_at + make_interval(secs => least(step * c.rate, 1800));
  SELECT min(a.due_at) + make_interval(secs => least(c.rate, 1800)) INTO stop
  FROM action a WHERE a.state IN ('pending', 'leased', 'sending');
  late := coalesce(stop < next, false);
  c.business_at := greatest(c.business_at, least(next, stop));
  UPDATE business_clock SET business_at = c.business_at, ticked_at = machine;
  IF NOT EXISTS (SELECT 1 FROM clock_epochs e WHERE e.machine_at > machine - interval '1 second') THEN
    INSERT INTO clock_epochs VALUES (machine, c.business_at) ON CONFLICT DO NOTHING;
    DELETE FROM clock_epochs e WHERE e.machine_at < machine - interval '7 days';
  END IF;
  RETURN QUERY SELECT c.business_at, c.sending_ends, late;
END $$;

-- A domain stops being a peer with three bounces in seven days (of mail that was bound to it), without
-- an MX, or when its servers
-- cannot be reached although others can (a closed port 25 here says nothing about them).
CREATE FUNCTION sched.domain_blocked(p_workspace uuid, p_domain text, p_now timestamptz) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT CASE
    WHEN (SELECT count(*) FROM domain_bounces b
          JOIN outbound o ON o.workspace_id = b.workspace_id AND o.id = b.outbound_id AND o.peer_domain = b.domain
          WHERE b.domain = p_domain AND b.at > p_now - interval '7 days') >= 3 THEN 'three bounces in 7 days'
    WHEN h.mx_ok = false THEN 'no mail server: ' || h.detail
    WHEN h.smtp_ok = false AND EXISTS (SELECT 1 FROM domain_health o WHERE o.smtp_ok) THEN
      'mail server unreachable: ' || h.detail
  END
  FROM (SELECT 1) one
  LEFT JOIN domain_health h ON h.workspace_id = p_workspace AND h.domain = p_domain
$$;

CREATE FUNCTION sched.to_size(p_now timestamptz, p_limit integer)
RETURNS TABLE (workspace_id uuid, mailbox_id uuid, pool_id uuid, timezone text, seed bigint, state text,
  consent text, auth_failures integer, has_campaign boolean, policy jsonb, previous jsonb,
  replies_due integer, next_size_at timestamptz, created_at timestamptz, sandbox boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT m.workspace_id, m.id, m.pool_id, m.timezone, m.seed, m.state, m.consent, m.auth_failures, m.has_campaign,
    p.policy,
    (SELECT c.body FROM controller_rows c WHERE c.workspace_id = m.workspace_id AND c.mailbox_id = m.id
     ORDER BY c.day DESC LIMIT 1),
    (SELECT count(*)::integer FROM inbound i WHERE i.workspace_id = m.workspace_id AND i.mailbox_id = m.id
       AND i.reply_state = 'wished' AND i.reply_at < p_now + interval '24 hours'),
    m.next_size_at, m.created_at, n.sandbox
  FROM mailboxes m
  JOIN pools p ON p.workspace_id = m.workspace_id AND p.id = m.pool_id
  JOIN workspaces w ON w.workspace_id = m.workspace_id AND w.state = 'active'
  CROSS JOIN installation n
  WHERE m.state <> 'removed' AND m.connected_at IS NOT NULL AND m.next_size_at <= p_now
  ORDER BY m.next_size_at, m.id
  LIMIT p_limit
$$;

CREATE FUNCTION sched.peering_snapshot(p_now timestamptz)
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
      AND w.state = 'active' AND d.blocked IS NULL,
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

-- Stores sized days. Each element: workspace_id, mailbox_id, day, volume, inputs, reasons, controller
-- (or null), moments [timestamptz], correlations [uuid, one for each moment] (or null),
-- next_size_at. A day that is already sized stays as it is.
CREATE FUNCTION sched.store_days(p_days jsonb, p_now timestamptz) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
DECLARE
  stored integer;
BEGIN
  WITH sized AS (
    SELECT * FROM jsonb_to_recordset(p_days) AS d(workspace_id uuid, mailbox_id uuid, day date, volume integer,
      inputs jsonb, reasons jsonb, controller jsonb, moments jsonb, correlations jsonb, next_size_at timestamptz)),
  fresh AS (
    INSERT INTO day_sizes (workspace_id, mailbox_id, day, volume, inputs, reasons, sized_at)
    SELECT s.workspace_id, s.mailbox_id, s.day, s.volume, s.inputs, s.reasons, p_now FROM sized s
    ON CONFLICT DO NOTHING
    RETURNING day_sizes.workspace_id, day_sizes.mailbox_id, day_sizes.day),
  rows AS (
    SELECT s.* FROM sized s JOIN fresh f USING (workspace_id, mailbox_id, day)),
  controllers AS (
    INSERT INTO controller_rows (workspace_id, mailbox_id, day, state, target_volume, body, reasons)
    SELECT r.workspace_id, r.mailbox_id, r.day, r.controller ->> 'state', (r.controller ->> 'target_volume')::integer,
      r.controller, r.controller -> 'reasons'
    FROM rows r WHERE jsonb_typeof(r.controller) = 'object'
    ON CONFLICT DO NOTHING),
  halves AS (
    INSERT INTO outbound (workspace_id, mailbox_id, day, slot, due_at, correlation_id)
    SELECT r.workspace_id, r.mailbox_id, r.day, m.slot, m.due::timestamptz,
      coalesce((r.correlations ->> (m.slot::integer - 1))::uuid, uuid7())
    FROM rows r CROSS JOIN LATERAL jsonb_array_elements_text(r.moments) WITH ORDINALITY AS m(due, slot)
    RETURNING outbound.workspace_id, outbound.mailbox_id, outbound.id, outbound.due_at),
  acts AS (
    INSERT INTO action (workspace_id, mailbox_id, kind, due_at, not_after, state, outbound_id)
    SELECT h.workspace_id, h.mailbox_id, 'send', h.due_at, h.due_at + interval '2 hours', 'waiting', h.id
    FROM halves h),
  moved AS (
    UPDATE mailboxes m SET next_size_at = s.next_size_at FROM sized s
    WHERE m.workspace_id = s.workspace_id AND m.id = s.mailbox_id AND m.next_size_at < s.next_size_at)
  SELECT count(*) INTO stored FROM fresh;
  RETURN stored;
END $$;

CREATE FUNCTION sched.waiting_slots(p_until timestamptz)
RETURNS TABLE (workspace_id uuid, mailbox_id uuid, outbound_id uuid, correlation_id uuid, due_at timestamptz,
  mailbox_seed bigint, address text, display_name text, domain text, policy jsonb)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT o.workspace_id, o.mailbox_id, o.id, o.correlation_id, o.due_at, m.seed, m.address, m.display_name, m.domain,
    p.policy
  FROM action a
  JOIN outbound o ON o.workspace_id = a.workspace_id AND o.id = a.outbound_id AND o.state = 'planned'
  JOIN mailboxes m ON m.workspace_id = a.workspace_id AND m.id = a.mailbox_id
    AND m.state = 'active' AND m.consent <> 'none'
  JOIN pools p ON p.workspace_id = m.workspace_id AND p.id = m.pool_id
  WHERE a.state = 'waiting' AND a.kind = 'send' AND a.due_at <= p_until
  ORDER BY a.due_at, a.id
$$;

CREATE FUNCTION sched.reply_wishes(p_until timestamptz)
RETURNS TABLE (workspace_id uuid, mailbox_id uuid, inbound_id uuid, reply_at timestamptz, peer_ref text,
  sender_address text, sender_name text, subject text, seed bigint, library text, thread_id uuid, turn integer,
  observed_message_id text, observed_refs text[])
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT i.workspace_id, i.mailbox_id, i.id, i.reply_at, i.peer_ref, i.sender_address, i.sender_name, i.subject,
    i.seed, i.library, i.thread_id, i.turn, i.observed_message_id, i.observed_refs
  FROM inbound i
  WHERE i.reply_state = 'wished' AND i.reply_at <= p_until
  ORDER BY i.reply_at, i.id
$$;

-- New threads per ordered pair since p_since, whatever became of them except cancelled or skipped.
CREATE FUNCTION sched.recent_pairs(p_since timestamptz)
RETURNS TABLE (mailbox_id uuid, peer_ref text, last_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT o.mailbox_id, o.peer_ref, max(greatest(o.due_at, coalesce(o.sent_at, o.due_at)))
  FROM outbound o
  WHERE o.due_at > p_since AND o.kind = 'thread' AND o.peer_ref IS NOT NULL
    AND o.state NOT IN ('planned', 'skipped', 'cancelled')
  GROUP BY o.mailbox_id, o.peer_ref
$$;

-- What each recipient has been given on each of its local dates.
CREATE FUNCTION sched.recipient_ledger(p_from date)
RETURNS TABLE (mailbox_id uuid, day date, taken integer)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT i.mailbox_id, i.day, count(*)::integer FROM inbound i WHERE i.day >= p_from GROUP BY 1, 2
$$;

CREATE FUNCTION sched.own_libraries()
RETURNS TABLE (workspace_id uuid, id uuid, name text, source text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT l.workspace_id, l.id, l.name, l.source FROM content_libraries l WHERE l.active
$$;

-- Binds peers: both halves and the claimable action in one transaction. Returns how many were still unbound.
CREATE FUNCTION sched.bind(p_bindings jsonb) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
DECLARE
  b record;
  n integer := 0;
BEGIN
  FOR b IN SELECT * FROM jsonb_to_recordset(p_bindings) AS x(workspace_id uuid, outbound_id uuid, kind text,
      peer_workspace uuid, peer_ref uuid, peer_day date, peer_address text, peer_domain text, peer_name text,
      sender_address text, sender_name text, message_id text, subject text, seed bigint, library text,
      thread_id uuid, turn integer, in_reply_to text, refs text[], reply_to_inbound uuid, reason text) LOOP
    CONTINUE WHEN NOT EXISTS (SELECT 1 FROM mailboxes p
      WHERE p.workspace_id = b.peer_workspace AND p.id = b.peer_ref AND p.state <> 'removed');
    IF b.kind = 'reply' THEN
      UPDATE inbound SET reply_state = 'bound'
      WHERE workspace_id = b.workspace_id AND id = b.reply_to_inbound AND reply_state = 'wished';
      CONTINUE WHEN NOT FOUND;
    END IF;
    UPDATE action SET state = 'pending'
    WHERE workspace_id = b.workspace_id AND outbound_id = b.outbound_id AND kind = 'send' AND state = 'waiting';
    IF NOT FOUND THEN
      UPDATE inbound SET reply_state = 'wished'
      WHERE b.kind = 'reply' AND workspace_id = b.workspace_id AND id = b.reply_to_inbound AND reply_state = 'bound';
      CONTINUE;
    END IF;
    UPDATE outbound SET state = 'bound', kind = b.kind, pair_id = gen_random_uuid(), peer_ref = b.peer_ref::text,
      peer_address = b.peer_address, peer_domain = b.peer_domain, peer_name = b.peer_name,
      message_id = b.message_id, subject = b.subject, seed = b.seed, library = b.library, thread_id = b.thread_id,
      turn = b.turn, in_reply_to = b.in_reply_to, refs = coalesce(b.refs, '{}'),
      reply_to_inbound = b.reply_to_inbound, bind_reason = b.reason
    WHERE workspace_id = b.workspace_id AND id = b.outbound_id;
    INSERT INTO inbound (workspace_id, mailbox_id, day, pair_id, correlation_id, peer_ref, sender_address, sender_name,
      message_id, subject, seed, library, thread_id, turn, due_at)
    SELECT b.peer_workspace, b.peer_ref, b.peer_day, o.pair_id, o.correlation_id, o.mailbox_id::text,
      b.sender_address, b.sender_name, o.message_id, o.subject, o.seed, o.library, o.thread_id, o.turn, o.due_at
    FROM outbound o WHERE o.workspace_id = b.workspace_id AND o.id = b.outbound_id;
    n := n + 1;
  END LOOP;
  RETURN n;
END $$;

-- Takes the peer from unsent messages whose recipient no longer accepts, so that they can be bound anew.
-- Returns how many were freed.
CREATE FUNCTION sched.unbind_lost_peers(p_now timestamptz) RETURNS integer
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
      AND (i.id IS NULL OR m.state NOT IN ('active', 'needs_reauth') OR m.consent = 'none'
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

-- Frees leases whose holder is gone. What was only claimed may be tried again; what was being sent is
-- uncertain and is never sent again: its recipient and the sender's Sent folder give evidence.
CREATE FUNCTION sched.reclaim(p_now timestamptz, p_poll_at timestamptz) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
DECLARE
  l record;
  a record;
  n integer := 0;
BEGIN
  FOR l IN SELECT workspace_id, mailbox_id, token FROM mailbox_leases
           WHERE owner IS NOT NULL AND expires_at < clock_timestamp() FOR UPDATE SKIP LOCKED LOOP
    UPDATE mailbox_leases SET owner = NULL, expires_at = NULL, woken_at = NULL, token = token + 1
    WHERE workspace_id = l.workspace_id AND mailbox_id = l.mailbox_id;
    n := n + 1;
  END LOOP;
  -- Held actions belong to the lease that claimed them; without it they are nobody's.
  FOR a IN SELECT x.* FROM action x
           JOIN mailbox_leases ml ON ml.workspace_id = x.workspace_id AND ml.mailbox_id = x.mailbox_id
           WHERE x.state IN ('leased', 'sending') AND (ml.owner IS NULL OR ml.token IS DISTINCT FROM x.lease_token)
           FOR UPDATE OF x SKIP LOCKED LOOP
    IF a.state = 'sending' THEN
      PERFORM sched.make_uncertain(a.workspace_id, a.id, a.outbound_id, p_now, p_poll_at,
        'the worker stopped while the message was being handed over');
    ELSIF a.kind = 'poll' AND EXISTS (SELECT 1 FROM action y WHERE y.workspace_id = a.workspace_id
        AND y.mailbox_id = a.mailbox_id AND y.kind = 'poll' AND y.state = 'pending') THEN
      UPDATE action SET state = 'cancelled', reason = 'merged', finished_at = p_now
      WHERE workspace_id = a.workspace_id AND id = a.id;
    ELSE
      UPDATE action SET state = 'pending', lease_token = NULL WHERE workspace_id = a.workspace_id AND id = a.id;
    END IF;
  END LOOP;
  RETURN n;
END $$;

CREATE FUNCTION sched.make_uncertain(p_workspace uuid, p_action uuid, p_outbound uuid, p_now timestamptz,
  p_poll_at timestamptz, p_reason text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
DECLARE
  o outbound%ROWTYPE;
  twin inbound%ROWTYPE;
BEGIN
  -- As after any send: the gap counts from it, its reply is not sent again, its copy in Sent will go.
  UPDATE action SET state = 'uncertain', reason = p_reason, finished_at = p_now
  WHERE workspace_id = p_workspace AND id = p_action;
  UPDATE outbound SET state = 'uncertain', reason = p_reason
  WHERE workspace_id = p_workspace AND id = p_outbound AND state = 'sending' RETURNING * INTO o;
  IF NOT FOUND THEN
    RETURN;  -- what became of the message is known already
  END IF;
  UPDATE inbound SET state = 'in_flight', sent_at = p_now
  WHERE pair_id = o.pair_id AND state = 'expected' RETURNING * INTO twin;
  IF FOUND THEN
    INSERT INTO action (workspace_id, mailbox_id, kind, due_at)
    VALUES (twin.workspace_id, twin.mailbox_id, 'poll', p_poll_at)
    ON CONFLICT (workspace_id, mailbox_id) WHERE kind = 'poll' AND state = 'pending'
    DO UPDATE SET due_at = least(action.due_at, excluded.due_at);
  END IF;
  UPDATE mailbox_leases SET last_sent_at = greatest(last_sent_at, o.sending_at)
  WHERE workspace_id = p_workspace AND mailbox_id = o.mailbox_id;
  UPDATE inbound SET reply_state = 'sent' WHERE workspace_id = p_workspace AND id = o.reply_to_inbound;
  INSERT INTO action (workspace_id, mailbox_id, kind, due_at, outbound_id)
  SELECT p_workspace, o.mailbox_id, follow.kind, follow.due_at, p_outbound
  FROM mailboxes m JOIN pools p ON p.workspace_id = m.workspace_id AND p.id = m.pool_id
  CROSS JOIN LATERAL (VALUES ('evidence', p_poll_at),
    ('expunge_sent', p_now + make_interval(hours => (p.policy ->> 'retention_hours')::integer))) AS follow (kind, due_at)
  WHERE m.workspace_id = p_workspace AND m.id = o.mailbox_id;
END $$;

-- Ends what can no longer happen, and settles what is now known. Returns counts by outcome.
CREATE FUNCTION sched.settle(p_now timestamptz, p_sending_ends timestamptz)
RETURNS TABLE (outcome text, n bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  WITH ended AS MATERIALIZED (SELECT * FROM (
    SELECT a.workspace_id, a.id, a.outbound_id, a.kind,
      CASE
        WHEN w.state <> 'active' THEN 'cancelled:the workspace is ' || w.state
        WHEN m.state = 'removed' THEN 'cancelled:the mailbox was removed'
        WHEN m.consent = 'none' THEN 'cancelled:consent was withdrawn'
        WHEN a.kind = 'send' AND m.state = 'paused' THEN 'cancelled:paused: draining, nothing new is sent'
        WHEN a.kind = 'send' AND m.state = 'needs_reauth' THEN 'cancelled:waits for re-authentication'
        WHEN a.kind = 'send' AND a.due_at <= n.restored_at THEN 'skipped:restored'
        WHEN a.kind = 'send' AND a.due_at >= p_sending_ends THEN 'cancelled:the run ended'
        WHEN a.not_after < p_now AND a.state = 'waiting' THEN 'skipped:no_peer'
        WHEN a.not_after < p_now THEN 'skipped:late'
      END AS verdict
    FROM action a
    JOIN mailboxes m ON m.workspace_id = a.workspace_id AND m.id = a.mailbox_id
    JOIN workspaces w ON w.workspace_id = a.workspace_id
    CROSS JOIN installation n
    WHERE a.state IN ('waiting', 'pending')) judged WHERE verdict IS NOT NULL),
  acts AS (
    UPDATE action a SET state = split_part(e.verdict, ':', 1), reason = substr(e.verdict, strpos(e.verdict, ':') + 1),
      finished_at = p_now
    FROM ended e
    WHERE a.workspace_id = e.workspace_id AND a.id = e.id AND a.state IN ('waiting', 'pending')
    RETURNING a.workspace_id, a.outbound_id, a.kind, a.state, a.reason),
  outs AS (
    UPDATE outbound o SET state = acts.state, reason = acts.reason
    FROM acts
    WHERE acts.kind = 'send' AND o.workspace_id = acts.workspace_id AND o.id = acts.outbound_id
      AND o.state IN ('planned', 'bound')
    RETURNING o.workspace_id, o.pair_id, o.reply_to_inbound, o.state),
  twins AS (
    DELETE FROM inbound i USING outs WHERE i.pair_id = outs.pair_id AND i.state = 'expected'),
  wishes AS (
    UPDATE inbound i SET reply_state = 'wished' FROM outs
    WHERE i.workspace_id = outs.workspace_id AND i.id = outs.reply_to_inbound AND i.reply_state = 'bound')
  SELECT acts.state || ':' || acts.reason, count(*) FROM acts GROUP BY 1;

  -- A mailbox that was connected again since its work was put off takes it up at once.
  UPDATE action a SET due_at = p_now, reason = '' FROM mailboxes m
  WHERE a.kind = 'poll' AND a.state = 'pending' AND a.due_at > p_now AND a.reason <> ''
    AND m.workspace_id = a.workspace_id AND m.id = a.mailbox_id AND m.auth_failures = 0 AND m.last_error = '';

  -- Evidence, in order: the recipient's mailbox (carried across), else unconfirmed after five days.
  RETURN QUERY
  WITH known AS (
    UPDATE outbound o SET state = 'sent', evidence = 'recipient', sent_at = coalesce(o.sent_at, i.arrived_at, o.sending_at),
      arrived_at = i.arrived_at, placement = i.placement, placement_provider = i.placement_provider
    FROM inbound i
    WHERE o.state = 'uncertain' AND i.pair_id = o.pair_id AND i.state = 'observed' RETURNING 1)
  SELECT 'settled:recipient', count(*) FROM known HAVING count(*) > 0;
  RETURN QUERY
  WITH stale AS (
    UPDATE outbound o SET state = 'unconfirmed', reason = 'no evidence within five days'
    WHERE o.state = 'uncertain' AND o.sending_at < p_now - interval '5 days' RETURNING 1)
  SELECT 'settled:unconfirmed', count(*) FROM stale HAVING count(*) > 0;

  -- Nobody could look: two days without a scan of both folders. What a scan did not find is the worker's to say.
  RETURN QUERY
  WITH blind AS (
    UPDATE inbound i SET state = 'unobservable', placement = 'unobservable', observed_at = p_now
    WHERE i.state = 'in_flight' AND i.sent_at < p_now - interval '48 hours' RETURNING i.pair_id),
  twins AS (
    UPDATE outbound o SET placement = 'unobservable' FROM blind
    WHERE o.pair_id = blind.pair_id AND o.placement IS NULL)
  SELECT 'unobservable', count(*) FROM blind HAVING count(*) > 0;

  RETURN QUERY
  WITH gone AS (
    UPDATE inbound i SET reply_state = 'expired'
    FROM mailboxes m
    WHERE i.reply_state = 'wished' AND m.workspace_id = i.workspace_id AND m.id = i.mailbox_id
      AND (i.reply_at < p_now - interval '7 days' OR m.state IN ('removed', 'paused') OR m.consent = 'none') RETURNING 1)
  SELECT 'reply_expired', count(*) FROM gone HAVING count(*) > 0;

  DELETE FROM connection_attempts c WHERE c.expires_at < clock_timestamp();
END $$;

-- Mailboxes to wake: something due, nobody holding the lease, and no wake-up under way. p_host_cap bounds
-- how many mailboxes of one remote host are worked on at once.
CREATE FUNCTION sched.take_wakes(p_now timestamptz, p_limit integer, p_host_cap integer, p_again_after double precision)
RETURNS TABLE (worker_group text, workspace_id uuid, mailbox_id uuid, wake_number bigint)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  WITH due AS (
    SELECT a.workspace_id, a.mailbox_id, min(a.due_at) AS due_at
    FROM action a WHERE a.state = 'pending' AND a.due_at <= p_now
    GROUP BY 1, 2),
  busy AS (
    SELECT m.imap_host, count(*) AS n
    FROM mailbox_leases l JOIN mailboxes m ON m.workspace_id = l.workspace_id AND m.id = l.mailbox_id
    WHERE l.owner IS NOT NULL OR l.woken_at > clock_timestamp() - make_interval(secs => p_again_after)
    GROUP BY 1),
  ready AS (
    SELECT d.*, p.worker_group, m.imap_host,
      row_number() OVER (PARTITION BY m.imap_host ORDER BY d.due_at, d.mailbox_id) AS place
    FROM due d
    JOIN mailboxes m ON m.workspace_id = d.workspace_id AND m.id = d.mailbox_id
    JOIN pools p ON p.workspace_id = m.workspace_id AND p.id = m.pool_id
    JOIN mailbox_leases l ON l.workspace_id = d.workspace_id AND l.mailbox_id = d.mailbox_id
    WHERE l.owner IS NULL
      AND (l.woken_at IS NULL OR l.woken_at <= clock_timestamp() - make_interval(secs => p_again_after))),
  chosen AS (
    SELECT r.* FROM ready r LEFT JOIN busy b ON b.imap_host = r.imap_host
    WHERE r.place + coalesce(b.n, 0) <= p_host_cap
    ORDER BY r.due_at LIMIT p_limit)
  UPDATE mailbox_leases l SET wake_number = l.wake_number + 1, woken_at = clock_timestamp()
  FROM chosen c WHERE l.workspace_id = c.workspace_id AND l.mailbox_id = c.mailbox_id AND l.owner IS NULL
    AND (l.woken_at IS NULL OR l.woken_at <= clock_timestamp() - make_interval(secs => p_again_after))
  RETURNING c.worker_group, l.workspace_id, l.mailbox_id, l.wake_number
$$;

-- Forgets the wake-ups under way: the queue that held them is gone.
CREATE FUNCTION sched.forget_wakes() RETURNS integer
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  WITH f AS (UPDATE mailbox_leases SET woken_at = NULL WHERE woken_at IS NOT NULL AND owner IS NULL RETURNING 1),
       t AS (UPDATE connection_attempts SET woken_at = NULL WHERE state = 'queued' AND woken_at IS NOT NULL RETURNING 1)
  SELECT ((SELECT count(*) FROM f) + (SELECT count(*) FROM t))::integer
$$;

CREATE FUNCTION sched.take_attempts()
RETURNS TABLE (worker_group text, workspace_id uuid, attempt_id uuid, wake_number bigint)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  UPDATE connection_attempts c SET woken_at = clock_timestamp()
  WHERE c.state = 'queued' AND c.expires_at > clock_timestamp()
    AND (c.woken_at IS NULL OR c.woken_at < clock_timestamp() - interval '15 seconds')
  RETURNING c.worker_group, c.workspace_id, c.id, extract(epoch FROM clock_timestamp())::bigint
$$;

-- Workspaces with a credential that is not sealed to the active key.
CREATE FUNCTION sched.to_reseal()
RETURNS TABLE (worker_group text, workspace_id uuid, sealed integer)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT min(p.worker_group), s.workspace_id, count(*)::integer
  FROM sealed_credentials s
  JOIN key_versions k ON k.workspace_id = s.workspace_id AND k.state = 'active' AND k.version > s.key_version
  JOIN mailboxes m ON m.workspace_id = s.workspace_id AND m.id = s.mailbox_id
  JOIN pools p ON p.workspace_id = m.workspace_id AND p.id = m.pool_id
  GROUP BY s.workspace_id
$$;

-- Two-hourly MX and SMTP checks: one representative mailbox for each domain of a workspace.
CREATE FUNCTION sched.plan_domain_checks(p_now timestamptz, p_slot timestamptz) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
DECLARE
  n integer;
BEGIN
  INSERT INTO domain_health (workspace_id, domain, next_check_at)
  SELECT DISTINCT m.workspace_id, m.domain, p_now FROM mailboxes m
  WHERE m.state IN ('active', 'paused') AND m.consent <> 'none'
  ON CONFLICT DO NOTHING;
  WITH due AS (
    UPDATE domain_health h SET next_check_at = p_now + interval '2 hours'
    WHERE h.next_check_at <= p_now
      AND EXISTS (SELECT 1 FROM mailboxes m JOIN workspaces w ON w.workspace_id = m.workspace_id AND w.state = 'active'
                  WHERE m.workspace_id = h.workspace_id AND m.domain = h.domain
                    AND m.state IN ('active', 'paused') AND m.consent <> 'none')
    RETURNING h.workspace_id, h.domain),
  planned AS (
    INSERT INTO action (workspace_id, mailbox_id, kind, due_at)
    SELECT d.workspace_id, (SELECT m.id FROM mailboxes m WHERE m.workspace_id = d.workspace_id
        AND m.domain = d.domain AND m.state IN ('active', 'paused') AND m.consent <> 'none' ORDER BY m.id LIMIT 1),
      'check_domain', p_slot
    FROM due d
    ON CONFLICT DO NOTHING RETURNING 1)
  SELECT count(*) INTO n FROM planned;
  RETURN n;
END $$;

CREATE FUNCTION sched.recompute_rollups(p_now timestamptz) RETURNS integer
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  WITH fresh AS (
    INSERT INTO rollups (workspace_id, mailbox_id, day, planned, sent, inbox, junk, other, missing, unobservable,
      bounced, replied, computed_at)
    SELECT o.workspace_id, o.mailbox_id, o.day,
      count(*) FILTER (WHERE o.state <> 'cancelled'),
      count(*) FILTER (WHERE o.state = 'sent'),
      count(*) FILTER (WHERE o.state = 'sent' AND o.placement IN ('inbox', 'tab')),
      count(*) FILTER (WHERE o.state = 'sent' AND o.placement = 'junk'),
      count(*) FILTER (WHERE o.state = 'sent' AND o.placement = 'other'),
      count(*) FILTER (WHERE o.state = 'sent' AND o.placement = 'missing'),
      count(*) FILTER (WHERE o.state = 'sent' AND o.placement = 'unobservable'),
      count(*) FILTER (WHERE o.state = 'bounced'),
      count(*) FILTER (WHERE o.state = 'sent' AND o.kind = 'reply'),
      p_now
    FROM outbound o WHERE o.day >= (p_now AT TIME ZONE 'UTC')::date - 8
    GROUP BY 1, 2, 3
    ON CONFLICT (workspace_id, mailbox_id, day) DO UPDATE SET planned = excluded.planned, sent = excluded.sent,
      inbox = excluded.inbox, junk = excluded.junk, other = excluded.other, missing = excluded.missing,
      unobservable = excluded.unobservable, bounced = excluded.bounced, replied = excluded.replied,
      computed_at = excluded.computed_at
    RETURNING 1)
  SELECT count(*)::integer FROM fresh
$$;

-- What each worker group has to do: every verb, one view of it. The scheduler, the operator and the
-- metrics read it.
CREATE FUNCTION sched.pool_demand(p_now timestamptz)
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
    SELECT r.worker_group, 'reseal', p_now, true FROM sched.to_reseal() r)
  SELECT w.worker_group, count(*) FILTER (WHERE w.due), count(*), min(w.due_at) FILTER (WHERE NOT w.due),
    min(w.due_at) FILTER (WHERE w.due),
    coalesce(string_agg(DISTINCT w.verb, ', ') FILTER (WHERE w.due), 'nothing is due')
  FROM work w GROUP BY w.worker_group
$$;

RESET ROLE;
DO $$
DECLARE
  f regprocedure;
BEGIN
  FOR f IN SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
           WHERE n.nspname = 'sched' LOOP
    SET LOCAL ROLE @planner@;
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO @scheduler@', f);
    RESET ROLE;
  END LOOP;
END $$;
SET LOCAL ROLE @planner@;
GRANT EXECUTE ON FUNCTION sched.pool_demand(timestamptz) TO @cli@, @operator@, @steward@;
GRANT EXECUTE ON FUNCTION sched.domain_blocked(uuid, text, timestamptz) TO @cli@, @steward@;
RESET ROLE;
