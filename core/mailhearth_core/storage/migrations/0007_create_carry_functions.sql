-- What crosses from one workspace to another: arrival time, placement class and provider; and, before a
-- send, only whether the peer still takes part. Each function acts on a row of the caller's own
-- workspace, which its login names. p_now is business time.

SET LOCAL ROLE @carrier@;

-- Whether this message may leave: consent and state on both sides, looked at again.
CREATE FUNCTION carry.claim_send(p_outbound uuid) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT CASE
    WHEN w.state <> 'active' OR m.state <> 'active' OR m.consent = 'none' THEN 'own_mailbox'
    WHEN i.id IS NULL OR pw.state <> 'active' OR p.consent = 'none' OR p.state NOT IN ('active', 'needs_reauth')
      OR p.auth_failures >= coalesce((pp.policy ->> 'exclude_after_failures')::integer, 10)
      OR (p.workspace_id <> m.workspace_id AND (p.consent <> 'network' OR m.consent <> 'network')) THEN 'peer'
    ELSE 'ok' END
  FROM outbound o
  JOIN mailboxes m ON m.workspace_id = o.workspace_id AND m.id = o.mailbox_id
  JOIN workspaces w ON w.workspace_id = o.workspace_id
  LEFT JOIN inbound i ON i.pair_id = o.pair_id
  LEFT JOIN mailboxes p ON p.workspace_id = i.workspace_id AND p.id = i.mailbox_id
  LEFT JOIN pools pp ON pp.workspace_id = p.workspace_id AND pp.id = p.pool_id
  LEFT JOIN workspaces pw ON pw.workspace_id = p.workspace_id
  WHERE o.workspace_id = worker_workspace() AND o.id = p_outbound
$$;

-- The message has left (or may have): the recipient is to look for it. p_poll_at: the first look.
CREATE FUNCTION carry.left_sender(p_outbound uuid, p_sent_at timestamptz, p_poll_at timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
DECLARE
  twin inbound%ROWTYPE;
BEGIN
  UPDATE inbound i SET state = 'in_flight', sent_at = p_sent_at
  FROM outbound o
  WHERE o.workspace_id = worker_workspace() AND o.id = p_outbound AND o.state IN ('sent', 'uncertain')
    AND i.pair_id = o.pair_id AND i.state = 'expected'
  RETURNING i.* INTO twin;
  IF FOUND THEN
    INSERT INTO action (workspace_id, mailbox_id, kind, due_at)
    SELECT twin.workspace_id, twin.mailbox_id, 'poll',
      greatest(p_poll_at, coalesce(l.last_poll_at + interval '10 minutes', p_poll_at))
    FROM mailbox_leases l WHERE l.workspace_id = twin.workspace_id AND l.mailbox_id = twin.mailbox_id
    ON CONFLICT (workspace_id, mailbox_id) WHERE kind = 'poll' AND state = 'pending'
    DO UPDATE SET due_at = least(action.due_at, excluded.due_at);
  END IF;
END $$;

-- The message will not be sent: its other half goes, and a reply's wish ends.
CREATE FUNCTION carry.withdrawn(p_outbound uuid) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  DELETE FROM inbound i USING outbound o
  WHERE o.workspace_id = worker_workspace() AND o.id = p_outbound AND o.state IN ('failed', 'skipped', 'cancelled')
    AND i.pair_id = o.pair_id AND i.state = 'expected'
$$;

-- Carries what the caller's own half says of a first observation to the sender's half.
CREATE FUNCTION carry.observed(p_inbound uuid) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  UPDATE outbound o
  SET arrived_at = i.arrived_at, placement = i.placement, placement_provider = i.placement_provider,
    evidence = CASE WHEN o.state = 'uncertain' AND i.state = 'observed' THEN 'recipient' ELSE o.evidence END,
    sent_at = CASE WHEN o.state = 'uncertain' AND i.state = 'observed'
                   THEN coalesce(o.sent_at, o.sending_at) ELSE o.sent_at END,
    state = CASE WHEN o.state = 'uncertain' AND i.state = 'observed' THEN 'sent' ELSE o.state END
  FROM inbound i
  WHERE i.workspace_id = worker_workspace() AND i.id = p_inbound AND i.placement IS NOT NULL
    AND o.pair_id = i.pair_id AND o.placement IS NULL
$$;

RESET ROLE;
DO $$
DECLARE
  f regprocedure;
BEGIN
  FOR f IN SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
           WHERE n.nspname = 'carry' LOOP
    SET LOCAL ROLE @carrier@;
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO @worker@', f);
    RESET ROLE;
  END LOOP;
END $$;
