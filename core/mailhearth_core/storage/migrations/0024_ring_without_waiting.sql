-- Two schedulers ring at once without waiting for each other, and what is planned for later is not counted row by row.

SET LOCAL ROLE @planner@;

-- As before, but the leases are taken in one order, and those that another transaction holds are left to it: two
-- schedulers that took them as they fell due could each wait for the other.
CREATE OR REPLACE FUNCTION sched.take_wakes(p_now timestamptz, p_limit integer, p_host_cap integer,
  p_again_after double precision)
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
    ORDER BY r.due_at LIMIT p_limit),
  held AS MATERIALIZED (
    SELECT l.workspace_id, l.mailbox_id, c.worker_group
    FROM mailbox_leases l JOIN chosen c ON c.workspace_id = l.workspace_id AND c.mailbox_id = l.mailbox_id
    WHERE l.owner IS NULL
      AND (l.woken_at IS NULL OR l.woken_at <= clock_timestamp() - make_interval(secs => p_again_after))
    ORDER BY l.workspace_id, l.mailbox_id FOR UPDATE OF l SKIP LOCKED)
  UPDATE mailbox_leases l SET wake_number = l.wake_number + 1, woken_at = clock_timestamp()
  FROM held h WHERE l.workspace_id = h.workspace_id AND l.mailbox_id = h.mailbox_id
  RETURNING h.worker_group, l.workspace_id, l.mailbox_id, l.wake_number
$$;

CREATE OR REPLACE FUNCTION sched.forget_wakes() RETURNS integer
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  WITH given AS MATERIALIZED (
    SELECT l.workspace_id, l.mailbox_id FROM mailbox_leases l WHERE l.woken_at IS NOT NULL AND l.owner IS NULL
    FOR UPDATE SKIP LOCKED),
  f AS (
    UPDATE mailbox_leases l SET woken_at = NULL FROM given g
    WHERE l.workspace_id = g.workspace_id AND l.mailbox_id = g.mailbox_id RETURNING 1),
  tried AS MATERIALIZED (
    SELECT c.workspace_id, c.id FROM connection_attempts c WHERE c.state = 'queued' AND c.woken_at IS NOT NULL
    FOR UPDATE SKIP LOCKED),
  t AS (
    UPDATE connection_attempts c SET woken_at = NULL FROM tried
    WHERE c.workspace_id = tried.workspace_id AND c.id = tried.id RETURNING 1)
  SELECT ((SELECT count(*) FROM f) + (SELECT count(*) FROM t))::integer
$$;

CREATE OR REPLACE FUNCTION sched.take_attempts()
RETURNS TABLE (worker_group text, workspace_id uuid, attempt_id uuid, wake_number bigint)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  WITH held AS MATERIALIZED (
    SELECT c.workspace_id, c.id FROM connection_attempts c
    WHERE c.state = 'queued' AND c.expires_at > clock_timestamp()
      AND (c.woken_at IS NULL OR c.woken_at < clock_timestamp() - interval '15 seconds')
      AND NOT EXISTS (SELECT 1 FROM workspaces w WHERE w.workspace_id = c.workspace_id AND w.state = 'suspended')
    FOR UPDATE OF c SKIP LOCKED)
  UPDATE connection_attempts c SET woken_at = clock_timestamp()
  FROM held h WHERE c.workspace_id = h.workspace_id AND c.id = h.id
  RETURNING c.worker_group, c.workspace_id, c.id, extract(epoch FROM clock_timestamp())::bigint
$$;

-- As before, but `backlog` is what is due until an hour from now. Each message is deleted days after it was sent, so that
-- most of what is planned lies far ahead (a million rows with 10,000 mailboxes), and was counted every second. A group
-- that has nothing in that hour asks each of its mailboxes for its next pending deed, by key.
CREATE OR REPLACE FUNCTION sched.pool_demand(p_now timestamptz)
RETURNS TABLE (worker_group text, due_now bigint, backlog bigint, next_due_at timestamptz, oldest_due_at timestamptz,
  reason text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  WITH soon AS MATERIALIZED (
    SELECT a.workspace_id, a.mailbox_id, a.kind,
      count(*) FILTER (WHERE a.state <> 'waiting' AND a.due_at <= p_now) AS due, count(*) AS planned,
      min(a.due_at) FILTER (WHERE a.state = 'waiting' OR a.due_at > p_now) AS next_at,
      min(a.due_at) FILTER (WHERE a.state <> 'waiting' AND a.due_at <= p_now) AS oldest_at
    FROM action a
    WHERE a.state IN ('waiting', 'pending', 'leased', 'sending') AND a.due_at <= p_now + interval '1 hour'
    GROUP BY 1, 2, 3),
  work AS (
    SELECT p.worker_group, s.kind AS verb, s.due, s.planned, s.next_at, s.oldest_at
    FROM soon s
    JOIN mailboxes m ON m.workspace_id = s.workspace_id AND m.id = s.mailbox_id
    JOIN pools p ON p.workspace_id = m.workspace_id AND p.id = m.pool_id
    UNION ALL
    SELECT c.worker_group, 'test', 1, 1, NULL, p_now FROM connection_attempts c
    WHERE c.state IN ('queued', 'running') AND c.expires_at > clock_timestamp()
    UNION ALL
    SELECT r.worker_group, 'reseal', 1, 1, NULL, p_now FROM sched.to_reseal() r
    WHERE EXISTS (
      SELECT 1 FROM sealed_credentials s
      JOIN key_versions old ON old.workspace_id = s.workspace_id AND old.version = s.key_version
        AND old.state <> 'destroyed'
      JOIN key_versions k ON k.workspace_id = s.workspace_id AND k.state = 'active' AND k.version > s.key_version
      WHERE s.workspace_id = r.workspace_id AND s.unopened IS DISTINCT FROM s.generation)),
  verbs AS MATERIALIZED (
    SELECT w.worker_group, w.verb, sum(w.due) AS due, sum(w.planned) AS planned, min(w.next_at) AS next_at,
      min(w.oldest_at) AS oldest_at
    FROM work w GROUP BY w.worker_group, w.verb
    UNION ALL
    SELECT p.worker_group, 'later', 0, 0, min(later.due_at), NULL
    FROM pools p
    JOIN mailboxes m ON m.workspace_id = p.workspace_id AND m.pool_id = p.id
    CROSS JOIN LATERAL (
      SELECT a.due_at FROM action a
      WHERE a.workspace_id = m.workspace_id AND a.mailbox_id = m.id AND a.state = 'pending'
        AND a.due_at > p_now + interval '1 hour'
      ORDER BY a.due_at LIMIT 1) later
    WHERE p.worker_group NOT IN (SELECT w.worker_group FROM work w WHERE w.next_at IS NOT NULL)
    GROUP BY p.worker_group)
  SELECT v.worker_group, sum(v.due)::bigint, sum(v.planned)::bigint, min(v.next_at), min(v.oldest_at),
    coalesce(string_agg(v.verb, ', ' ORDER BY v.verb) FILTER (WHERE v.due > 0), 'nothing is due')
  FROM verbs v GROUP BY v.worker_group
$$;

RESET ROLE;
