-- What the command line and the dashboard tell of a workspace, by the tenant's door.

-- name: blocked_domains
SELECT b.domain, b.reason
FROM (SELECT d.domain, sched.domain_blocked(:workspace_id, d.domain, :now) AS reason
      FROM (SELECT DISTINCT domain FROM mailboxes WHERE state <> 'removed') d) b
WHERE b.reason IS NOT NULL;

-- name: demand
SELECT * FROM sched.pool_demand(:now) ORDER BY worker_group;

-- Each mailbox counts on its own local date.
-- name: pools_today
SELECT m.pool_id,
  coalesce(sum(s.volume), 0)::integer AS volume,
  count(s.volume)::integer AS sized,
  coalesce(sum(o.planned), 0)::integer AS planned,
  coalesce(sum(o.sent), 0)::integer AS sent,
  coalesce(sum(o.replies), 0)::integer AS replies,
  coalesce(sum(o.waiting), 0)::integer AS waiting_peer,
  coalesce(sum(o.skipped), 0)::integer AS skipped,
  coalesce(sum(o.uncertain), 0)::integer AS uncertain
FROM mailboxes m
LEFT JOIN day_sizes s ON s.workspace_id = m.workspace_id AND s.mailbox_id = m.id
  AND s.day = (:now AT TIME ZONE m.timezone)::date
LEFT JOIN LATERAL (
  SELECT count(*) FILTER (WHERE o.state <> 'cancelled') AS planned,
    count(*) FILTER (WHERE o.state IN ('sent', 'bounced')) AS sent,
    count(*) FILTER (WHERE o.state = 'sent' AND o.kind = 'reply') AS replies,
    count(*) FILTER (WHERE o.state = 'planned') AS waiting,
    count(*) FILTER (WHERE o.state = 'skipped') AS skipped,
    count(*) FILTER (WHERE o.state IN ('uncertain', 'unconfirmed')) AS uncertain
  FROM outbound o WHERE o.workspace_id = m.workspace_id AND o.mailbox_id = m.id
    AND o.day = (:now AT TIME ZONE m.timezone)::date) o ON true
WHERE m.state <> 'removed' GROUP BY m.pool_id;

-- name: pools_placed
SELECT m.pool_id, sum(r.inbox)::integer AS inbox, sum(r.junk)::integer AS junk, sum(r.other)::integer AS other,
  sum(r.missing)::integer AS missing, sum(r.unobservable)::integer AS unobservable
FROM rollups r JOIN mailboxes m ON m.workspace_id = r.workspace_id AND m.id = r.mailbox_id
WHERE r.day > (:now AT TIME ZONE m.timezone)::date - :days
GROUP BY m.pool_id;

-- name: mailbox_placed^
SELECT sum(r.inbox)::integer AS inbox, sum(r.junk)::integer AS junk, sum(r.other)::integer AS other,
  sum(r.missing)::integer AS missing, sum(r.unobservable)::integer AS unobservable,
  sum(r.bounced)::integer AS bounced, sum(r.sent + r.bounced)::integer AS sent
FROM rollups r WHERE r.mailbox_id = :mailbox_id AND r.day > :day::date - :days;

-- name: day_size^
SELECT volume, reasons, sized_at FROM day_sizes WHERE mailbox_id = :mailbox_id AND day = :day;

-- name: controller_row^
SELECT state, target_volume, reasons FROM controller_rows WHERE mailbox_id = :mailbox_id AND day = :day;

-- name: mailbox_day^
SELECT count(*) FILTER (WHERE state <> 'cancelled') AS planned,
  count(*) FILTER (WHERE state IN ('sent', 'bounced')) AS sent,
  count(*) FILTER (WHERE state = 'planned') AS waiting_peer,
  count(*) FILTER (WHERE state = 'bound') AS bound,
  count(*) FILTER (WHERE state = 'skipped') AS skipped,
  count(*) FILTER (WHERE state IN ('uncertain', 'unconfirmed')) AS uncertain,
  count(*) FILTER (WHERE state = 'failed') AS failed,
  min(due_at) FILTER (WHERE state IN ('planned', 'bound')) AS next_due_at
FROM outbound WHERE mailbox_id = :mailbox_id AND day = :day;

-- name: recent_sends
SELECT due_at, kind, state, reason, peer_address AS peer, bind_reason, subject, sent_at, evidence, placement,
  arrived_at
FROM outbound WHERE mailbox_id = :mailbox_id AND due_at <= :until AND state <> 'cancelled'
ORDER BY due_at DESC LIMIT :limit;
