-- Planning at scale: the scheduler binds workspace by workspace (the network as one), so it asks for the rows of
-- some mailboxes only. These indexes lead to them past the finished messages, however many there are.

CREATE INDEX outbound_threads ON outbound (mailbox_id, due_at) WHERE kind = 'thread' AND peer_ref IS NOT NULL;
DROP INDEX outbound_recent_pairs;
-- What is still in a mailbox: for the census.
CREATE INDEX inbound_present ON inbound (workspace_id, mailbox_id) WHERE expunged_at IS NULL;

SET LOCAL ROLE @planner@;

-- Workspaces with sends that wait for a peer, and whether one of these may go to the network.
CREATE FUNCTION sched.waiting_workspaces(p_until timestamptz)
RETURNS TABLE (workspace_id uuid, in_network boolean, slots bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT a.workspace_id, bool_or(m.consent = 'network' AND p.peering_scope = 'network'), count(*)
  FROM action a
  JOIN mailboxes m ON m.workspace_id = a.workspace_id AND m.id = a.mailbox_id
    AND m.state = 'active' AND m.consent <> 'none'
  JOIN pools p ON p.workspace_id = m.workspace_id AND p.id = m.pool_id
  WHERE a.state = 'waiting' AND a.kind = 'send' AND a.due_at <= p_until
  GROUP BY a.workspace_id ORDER BY a.workspace_id
$$;

-- The sends of some workspaces that wait for a peer.
CREATE FUNCTION sched.waiting_slots_of(p_until timestamptz, p_workspaces uuid[])
RETURNS TABLE (workspace_id uuid, mailbox_id uuid, outbound_id uuid, correlation_id uuid, due_at timestamptz,
  mailbox_seed bigint, address text, display_name text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT o.workspace_id, o.mailbox_id, o.id, o.correlation_id, o.due_at, m.seed, m.address, m.display_name
  FROM action a
  JOIN outbound o ON o.workspace_id = a.workspace_id AND o.id = a.outbound_id AND o.state = 'planned'
  JOIN mailboxes m ON m.workspace_id = a.workspace_id AND m.id = a.mailbox_id
    AND m.state = 'active' AND m.consent <> 'none'
  WHERE a.state = 'waiting' AND a.kind = 'send' AND a.due_at <= p_until AND a.workspace_id = ANY (p_workspaces)
  ORDER BY a.due_at, a.id
$$;

-- The replies that recipients in some workspaces wish to send.
CREATE FUNCTION sched.reply_wishes_of(p_until timestamptz, p_workspaces uuid[])
RETURNS TABLE (workspace_id uuid, mailbox_id uuid, inbound_id uuid, reply_at timestamptz, peer_ref text,
  subject text, seed bigint, library text, thread_id uuid, turn integer, observed_message_id text,
  observed_refs text[])
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT i.workspace_id, i.mailbox_id, i.id, i.reply_at, i.peer_ref, i.subject, i.seed, i.library, i.thread_id,
    i.turn, i.observed_message_id, i.observed_refs
  FROM inbound i
  WHERE i.reply_state = 'wished' AND i.reply_at <= p_until AND i.workspace_id = ANY (p_workspaces)
  ORDER BY i.reply_at, i.id
$$;

-- New threads of some senders since p_since, by peer, whatever became of them except cancelled or skipped.
CREATE FUNCTION sched.recent_pairs_of(p_since timestamptz, p_mailboxes uuid[])
RETURNS TABLE (mailbox_id uuid, peer_ref text, last_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT o.mailbox_id, o.peer_ref, max(greatest(o.due_at, coalesce(o.sent_at, o.due_at)))
  FROM unnest(p_mailboxes) AS s(id)
  JOIN outbound o ON o.mailbox_id = s.id AND o.due_at > p_since AND o.kind = 'thread' AND o.peer_ref IS NOT NULL
    AND o.state NOT IN ('planned', 'skipped', 'cancelled')
  GROUP BY o.mailbox_id, o.peer_ref
$$;

-- What some recipients have been given on their local dates: the first and the three after it.
CREATE FUNCTION sched.recipient_ledger_of(p_from date, p_mailboxes uuid[])
RETURNS TABLE (mailbox_id uuid, day date, taken integer)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT i.mailbox_id, i.day, count(*)::integer
  FROM unnest(p_mailboxes) AS r(id) CROSS JOIN generate_series(0, 3) AS n
  JOIN inbound i ON i.mailbox_id = r.id AND i.day = p_from + n
  GROUP BY i.mailbox_id, i.day
$$;

-- The mailboxes of some workspaces (all, when NULL) as peers, and those of the network if p_network.
CREATE FUNCTION sched.peering_of(p_now timestamptz, p_workspaces uuid[], p_network boolean)
RETURNS TABLE (mailbox_id uuid, workspace_id uuid, pool_id uuid, scope text, network_consent boolean, address text,
  display_name text, domain text, provider text, accepts boolean, connecting boolean, timezone text, policy jsonb,
  volume integer)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  WITH chosen AS MATERIALIZED (
    SELECT m.*, p.peering_scope, p.policy
    FROM mailboxes m JOIN pools p ON p.workspace_id = m.workspace_id AND p.id = m.pool_id
    WHERE m.state <> 'removed' AND (p_workspaces IS NULL OR m.workspace_id = ANY (p_workspaces)
      OR (p_network AND p.peering_scope = 'network' AND m.consent = 'network'))),
  domains AS MATERIALIZED (
    SELECT d.workspace_id, d.domain, sched.domain_blocked(d.workspace_id, d.domain, p_now) AS blocked
    FROM (SELECT DISTINCT c.workspace_id, c.domain FROM chosen c) d)
  SELECT m.id, m.workspace_id, m.pool_id, m.peering_scope, m.consent = 'network', m.address, m.display_name,
    m.domain, m.peer_provider,
    m.state IN ('active', 'needs_reauth') AND m.connected_at IS NOT NULL AND m.consent <> 'none'
      AND m.auth_failures < coalesce((m.policy ->> 'exclude_after_failures')::integer, 10)
      AND w.state = 'active' AND d.blocked IS NULL AND m.phase <> 'blocked',
    -- About to sign in for the first time: it will accept in a moment.
    m.state = 'active' AND m.connected_at IS NULL AND m.consent <> 'none' AND m.last_error = '' AND w.state = 'active',
    m.timezone, m.policy,
    coalesce((SELECT s.volume FROM day_sizes s WHERE s.workspace_id = m.workspace_id AND s.mailbox_id = m.id
              ORDER BY s.day DESC LIMIT 1), 0)
  FROM chosen m
  JOIN workspaces w ON w.workspace_id = m.workspace_id
  JOIN domains d ON d.workspace_id = m.workspace_id AND d.domain = m.domain
$$;

CREATE OR REPLACE FUNCTION sched.peering_snapshot(p_now timestamptz)
RETURNS TABLE (mailbox_id uuid, workspace_id uuid, pool_id uuid, scope text, network_consent boolean, address text,
  display_name text, domain text, provider text, accepts boolean, connecting boolean, timezone text, policy jsonb,
  volume integer)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT * FROM sched.peering_of(p_now, NULL, true)
$$;

REVOKE ALL ON FUNCTION sched.waiting_workspaces(timestamptz), sched.waiting_slots_of(timestamptz, uuid[]),
  sched.reply_wishes_of(timestamptz, uuid[]), sched.recent_pairs_of(timestamptz, uuid[]),
  sched.recipient_ledger_of(date, uuid[]), sched.peering_of(timestamptz, uuid[], boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sched.waiting_workspaces(timestamptz), sched.waiting_slots_of(timestamptz, uuid[]),
  sched.reply_wishes_of(timestamptz, uuid[]), sched.recent_pairs_of(timestamptz, uuid[]),
  sched.recipient_ledger_of(date, uuid[]), sched.peering_of(timestamptz, uuid[], boolean) TO @scheduler@;
RESET ROLE;
