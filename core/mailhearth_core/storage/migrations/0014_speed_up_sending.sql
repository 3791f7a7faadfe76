-- One message costs a worker two statements: `begin_send` before a byte of it leaves, `settle_send` after the
-- server's answer (which claims the next action besides). Each is one transaction and durable when it returns.
-- They run with the worker's own rights and under its row-level security. p_machine is the caller's clock, which
-- is business time where no clock is scaled.

-- The next thing that is due in a mailbox, claimed under the caller's lease. Nothing is claimed in a mailbox that may
-- not be signed in to. What is due at the same moment is done in the order of a reader's deeds.
CREATE FUNCTION claim_action(p_workspace uuid, p_mailbox uuid, p_token bigint, p_now timestamptz)
RETURNS TABLE (id uuid, kind text, due_at timestamptz, not_after timestamptz, attempt integer, outbound_id uuid,
  inbound_id uuid)
LANGUAGE plpgsql VOLATILE SET search_path = mailhearth, pg_temp AS $$
BEGIN
  RETURN QUERY
  UPDATE action SET state = 'leased', lease_token = p_token, attempt = action.attempt + 1
  WHERE action.workspace_id = p_workspace AND action.id = (
    SELECT a.id FROM action a
    WHERE a.workspace_id = p_workspace AND a.mailbox_id = p_mailbox AND a.state = 'pending' AND a.due_at <= p_now
      AND EXISTS (SELECT 1 FROM mailboxes m JOIN workspaces w ON w.workspace_id = m.workspace_id
                    AND (w.state = 'active' OR w.state = 'deleting' AND a.kind = 'purge')
                  WHERE m.workspace_id = a.workspace_id AND m.id = a.mailbox_id AND m.consent <> 'none'
                    AND m.state <> 'removed')
    ORDER BY a.due_at, array_position('{send,poll,rescue,read,flag,file,expunge}'::text[], a.kind), a.id
    LIMIT 1 FOR UPDATE OF a SKIP LOCKED)
  RETURNING action.id, action.kind, action.due_at, action.not_after, action.attempt, action.outbound_id,
    action.inbound_id;
END $$;

-- Writes down that a message may leave from now on; from here on a crash makes it uncertain, never twice sent.
-- False, and nothing written, when anything speaks against it: lateness, the gap, consent on either side, the lease.
CREATE FUNCTION begin_send(p_workspace uuid, p_action uuid, p_token bigint, p_machine timestamptz,
  p_gap interval, p_lease_seconds double precision) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = mailhearth, pg_temp AS $$
DECLARE
  at timestamptz := coalesce((SELECT c.business_at FROM business_clock c), p_machine);
  mailbox uuid;
  message uuid;
BEGIN
  SELECT a.mailbox_id, a.outbound_id INTO mailbox, message
  FROM action a
  JOIN outbound o ON o.workspace_id = a.workspace_id AND o.id = a.outbound_id AND o.state = 'bound'
  JOIN mailbox_leases l ON l.workspace_id = a.workspace_id AND l.mailbox_id = a.mailbox_id
    AND l.token = p_token AND l.owner IS NOT NULL
  WHERE a.workspace_id = p_workspace AND a.id = p_action AND a.lease_token = p_token AND a.state = 'leased'
    AND (a.not_after IS NULL OR at <= a.not_after) AND (l.last_sent_at IS NULL OR l.last_sent_at + p_gap <= at)
    AND carry.claim_send(a.outbound_id) = 'ok';
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  -- Looked at once more by the updates themselves: each waits for whoever is changing the row.
  UPDATE mailbox_leases SET expires_at = greatest(expires_at, clock_timestamp() + make_interval(secs => p_lease_seconds))
  WHERE workspace_id = p_workspace AND mailbox_id = mailbox AND token = p_token AND owner IS NOT NULL;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  UPDATE action SET state = 'sending'
  WHERE workspace_id = p_workspace AND id = p_action AND lease_token = p_token AND state = 'leased';
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  UPDATE outbound SET state = 'sending', sending_at = at
  WHERE workspace_id = p_workspace AND id = message AND state = 'bound';
  IF NOT FOUND THEN
    RAISE EXCEPTION 'message % changed while it was to be sent', message USING ERRCODE = 'serialization_failure';
  END IF;
  RETURN true;
END $$;

-- Records that a message left, or may have (p_state `sent` or `uncertain`), on both sides, and what follows from it.
-- Null, and nothing written, when the action is not the caller's any more.
CREATE FUNCTION settle_send(p_workspace uuid, p_action uuid, p_token bigint, p_machine timestamptz, p_state text,
  p_reason text, p_smtp_reply text, p_poll_at timestamptz, p_evidence_after interval, p_retention interval)
RETURNS timestamptz
LANGUAGE plpgsql VOLATILE SET search_path = mailhearth, pg_temp AS $$
DECLARE
  at timestamptz := coalesce((SELECT c.business_at FROM business_clock c), p_machine);
  mailbox uuid;
  message uuid;
  answered uuid;
BEGIN
  UPDATE action SET state = CASE p_state WHEN 'sent' THEN 'done' ELSE p_state END, reason = p_reason, finished_at = at
  WHERE workspace_id = p_workspace AND id = p_action AND lease_token = p_token AND state IN ('leased', 'sending')
  RETURNING mailbox_id, outbound_id INTO mailbox, message;
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  UPDATE outbound SET state = p_state, reason = p_reason, smtp_reply = p_smtp_reply,
    sent_at = CASE p_state WHEN 'sent' THEN at END, evidence = CASE p_state WHEN 'sent' THEN 'smtp' ELSE '' END
  WHERE workspace_id = p_workspace AND id = message AND state IN ('bound', 'sending')
  RETURNING reply_to_inbound INTO answered;
  UPDATE mailbox_leases SET last_sent_at = greatest(last_sent_at, at)
  WHERE workspace_id = p_workspace AND mailbox_id = mailbox;
  PERFORM carry.left_sender(message, at, p_poll_at);
  IF p_state = 'uncertain' THEN
    INSERT INTO action (workspace_id, mailbox_id, kind, due_at, outbound_id)
    VALUES (p_workspace, mailbox, 'evidence', at + p_evidence_after, message);
  END IF;
  INSERT INTO action (workspace_id, mailbox_id, kind, due_at, outbound_id)
  VALUES (p_workspace, mailbox, 'expunge_sent', at + p_retention, message);
  IF answered IS NOT NULL THEN
    UPDATE inbound SET reply_state = 'sent' WHERE workspace_id = p_workspace AND id = answered;
  END IF;
  RETURN at;
END $$;

REVOKE ALL ON FUNCTION claim_action(uuid, uuid, bigint, timestamptz),
  begin_send(uuid, uuid, bigint, timestamptz, interval, double precision),
  settle_send(uuid, uuid, bigint, timestamptz, text, text, text, timestamptz, interval, interval) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION claim_action(uuid, uuid, bigint, timestamptz),
  begin_send(uuid, uuid, bigint, timestamptz, interval, double precision),
  settle_send(uuid, uuid, bigint, timestamptz, text, text, text, timestamptz, interval, interval) TO @worker@;

SET LOCAL ROLE @carrier@;

-- As before, in a language whose plans are kept for the session: planning it cost ten times what running it does.
CREATE OR REPLACE FUNCTION carry.claim_send(p_outbound uuid) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
BEGIN
  RETURN (
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
    WHERE o.workspace_id = worker_workspace() AND o.id = p_outbound);
END $$;

-- As before, but a look that is planned early enough already is left as it is.
CREATE OR REPLACE FUNCTION carry.left_sender(p_outbound uuid, p_sent_at timestamptz, p_poll_at timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
DECLARE
  twin record;
BEGIN
  UPDATE inbound i SET state = 'in_flight', sent_at = p_sent_at
  FROM outbound o
  WHERE o.workspace_id = worker_workspace() AND o.id = p_outbound AND o.state IN ('sent', 'uncertain')
    AND i.pair_id = o.pair_id AND i.state = 'expected'
  RETURNING i.workspace_id, i.mailbox_id INTO twin;
  IF FOUND THEN
    INSERT INTO action (workspace_id, mailbox_id, kind, due_at)
    SELECT twin.workspace_id, twin.mailbox_id, 'poll',
      greatest(p_poll_at, coalesce(l.last_poll_at + interval '10 minutes', p_poll_at))
    FROM mailbox_leases l WHERE l.workspace_id = twin.workspace_id AND l.mailbox_id = twin.mailbox_id
    ON CONFLICT (workspace_id, mailbox_id) WHERE kind = 'poll' AND state = 'pending'
    DO UPDATE SET due_at = excluded.due_at WHERE excluded.due_at < action.due_at;
  END IF;
END $$;

RESET ROLE;
