-- What the dashboard's pages show, by the tenant's door. A page is a few of these; none reads mail by the workspace.

-- name: business_now$
SELECT coalesce((SELECT business_at FROM business_clock), :machine::timestamptz);

-- name: mailbox_states
SELECT pool_id, state, phase, consent, connected_at IS NOT NULL AS connected, count(*)::integer AS n
FROM mailboxes WHERE state <> 'removed' GROUP BY 1, 2, 3, 4, 5;

-- name: days
SELECT day, volume, planned, sent, replied, bounced, rescued, inbox, junk, other, missing, unobservable, computed_at
FROM workspace_days WHERE day > :today::date - :days AND day <= :today::date ORDER BY day;

-- name: providers
SELECT provider, sum(inbox)::integer AS inbox, sum(junk)::integer AS junk, sum(other)::integer AS other,
  sum(missing)::integer AS missing, sum(unobservable)::integer AS unobservable
FROM provider_days WHERE day > :today::date - :days AND day <= :today::date GROUP BY provider ORDER BY provider;

-- name: pools
SELECT workspace_id, id, name, policy, peering_scope, worker_group, generation, managed_by FROM pools ORDER BY name;

-- name: blocked_domains
SELECT domain, reason FROM sched.blocked_domains(:workspace_id, :now);

-- What stands in a mailbox's way, the worst first; total counts those beyond the limit too.
-- name: in_trouble
SELECT m.id, m.address, m.domain, m.pool_id, m.state, m.state_reason, m.consent, m.auth_failures, m.last_error,
  m.connected_at, m.phase, m.phase_since, m.phase_until, m.phase_cause, count(*) OVER ()::integer AS total
FROM mailboxes m
WHERE m.state <> 'removed' AND (m.state <> 'active' OR m.consent = 'none' OR m.phase IN ('quarantined', 'blocked')
  OR m.last_error <> '' OR m.connected_at IS NULL OR m.domain = ANY (:domains))
ORDER BY CASE WHEN m.phase = 'blocked' THEN 0 WHEN m.state = 'needs_reauth' THEN 1 WHEN m.phase = 'quarantined' THEN 2
    WHEN m.domain = ANY (:domains) THEN 3 WHEN m.last_error <> '' THEN 4 WHEN m.state = 'paused' THEN 5
    WHEN m.consent = 'none' THEN 7 ELSE 6 END, m.address
LIMIT :limit;

-- name: places_today
SELECT * FROM sched.places_today(:user_id, :today);

-- One mailbox with its pool, its workspace's state and the time; no row for another workspace's.
-- name: mailbox^
SELECT m.id, m.workspace_id, m.pool_id, m.address, m.domain, m.display_name, m.timezone, m.provider, m.peer_provider,
  m.state, m.state_reason, m.state_since, m.consent, m.has_campaign, m.connected_at, m.auth_failures, m.last_error,
  m.last_error_at, m.next_size_at, m.created_at, m.auth, m.phase, m.phase_since, m.phase_until, m.phase_cause,
  m.is_sensor, p.name AS pool, p.policy, w.name AS workspace, w.state AS workspace_state,
  w.state_reason AS workspace_reason, t.now, l.last_poll_at, l.last_sent_at,
  (SELECT b.reason FROM sched.blocked_domains(m.workspace_id, t.now) b WHERE b.domain = m.domain) AS domain_blocked
FROM mailboxes m
JOIN pools p ON p.workspace_id = m.workspace_id AND p.id = m.pool_id
JOIN workspaces w ON w.workspace_id = m.workspace_id
CROSS JOIN (SELECT coalesce((SELECT business_at FROM business_clock), :machine::timestamptz) AS now) t
LEFT JOIN mailbox_leases l ON l.workspace_id = m.workspace_id AND l.mailbox_id = m.id
WHERE m.id = :mailbox_id AND m.state <> 'removed';

-- name: mailbox_series
SELECT d.day, s.volume, r.planned, r.sent, r.replied, r.bounced, r.inbox, r.junk, r.other, r.missing, r.unobservable
FROM (SELECT :today::date - g AS day FROM generate_series(0, :days - 1) g) d
LEFT JOIN day_sizes s ON s.mailbox_id = :mailbox_id AND s.day = d.day AND s.workspace_id = :workspace_id
LEFT JOIN rollups r ON r.mailbox_id = :mailbox_id AND r.day = d.day AND r.workspace_id = :workspace_id
WHERE s.day IS NOT NULL OR r.day IS NOT NULL ORDER BY d.day;

-- name: mailbox_providers
SELECT o.day, coalesce(o.placement_provider, 'unknown') AS provider,
  (count(*) FILTER (WHERE o.placement IN ('inbox', 'tab')))::integer AS inbox,
  (count(*) FILTER (WHERE o.placement = 'junk'))::integer AS junk,
  (count(*) FILTER (WHERE o.placement = 'other'))::integer AS other,
  (count(*) FILTER (WHERE o.placement = 'missing'))::integer AS missing,
  (count(*) FILTER (WHERE o.placement = 'unobservable'))::integer AS unobservable
FROM outbound o
WHERE o.workspace_id = :workspace_id AND o.mailbox_id = :mailbox_id AND o.day > :today::date - :days
  AND o.day <= :today::date AND o.state = 'sent' AND o.placement IS NOT NULL
GROUP BY 1, 2 ORDER BY 1 DESC, 2;

-- What it did as a recipient.
-- name: mailbox_received^
SELECT count(*)::integer AS received, count(i.rescued_at)::integer AS rescued, count(i.read_at)::integer AS read,
  count(i.flagged_at)::integer AS flagged,
  (count(*) FILTER (WHERE i.reply_state = 'sent'))::integer AS replied,
  (count(*) FILTER (WHERE i.placement = 'junk'))::integer AS junk
FROM inbound i
WHERE i.day = ANY (:dates::date[]) AND i.mailbox_id = :mailbox_id AND i.workspace_id = :workspace_id
  AND i.state = 'observed';

-- The day as it was sized and as it goes.
-- name: mailbox_today^
SELECT s.volume, s.reasons, s.sized_at, c.state AS controller_state, c.target_volume, c.reasons AS controller_reasons,
  o.planned, o.sent, o.waiting_peer, o.bound, o.skipped, o.uncertain, o.failed, o.next_due_at
FROM (SELECT 1) one
LEFT JOIN day_sizes s ON s.workspace_id = :workspace_id AND s.mailbox_id = :mailbox_id AND s.day = :today
LEFT JOIN controller_rows c ON c.workspace_id = :workspace_id AND c.mailbox_id = :mailbox_id AND c.day = :today
CROSS JOIN LATERAL (
  SELECT (count(*) FILTER (WHERE state <> 'cancelled'))::integer AS planned,
    (count(*) FILTER (WHERE state IN ('sent', 'bounced')))::integer AS sent,
    (count(*) FILTER (WHERE state = 'planned'))::integer AS waiting_peer,
    (count(*) FILTER (WHERE state = 'bound'))::integer AS bound,
    (count(*) FILTER (WHERE state = 'skipped'))::integer AS skipped,
    (count(*) FILTER (WHERE state IN ('uncertain', 'unconfirmed')))::integer AS uncertain,
    (count(*) FILTER (WHERE state = 'failed'))::integer AS failed,
    min(due_at) FILTER (WHERE state IN ('planned', 'bound')) AS next_due_at
  FROM outbound WHERE workspace_id = :workspace_id AND mailbox_id = :mailbox_id AND day = :today) o;

-- The last sends and the next ones, the latest first.
-- name: mailbox_sends
(SELECT due_at, kind, state, reason, peer_address AS peer, bind_reason, subject, sent_at, evidence, placement,
  placement_provider, arrived_at, state IN ('planned', 'bound') AND due_at > :now AS upcoming
 FROM outbound WHERE workspace_id = :workspace_id AND mailbox_id = :mailbox_id AND day >= :today::date
   AND day <= :today::date + 1 AND state IN ('planned', 'bound') AND due_at > :now ORDER BY due_at LIMIT :limit)
UNION ALL
(SELECT due_at, kind, state, reason, peer_address, bind_reason, subject, sent_at, evidence, placement,
  placement_provider, arrived_at, false
 FROM outbound WHERE workspace_id = :workspace_id AND mailbox_id = :mailbox_id AND day > :today::date - 14
   AND day <= :today::date + 1 AND state <> 'cancelled' AND due_at <= :now ORDER BY due_at DESC LIMIT :limit)
ORDER BY due_at DESC;

-- What happened to a mailbox, the newest first. The audit's times are the machine's, brought to business time.
-- name: mailbox_timeline
WITH clock AS (SELECT rate, business_at, ticked_at FROM business_clock)
SELECT at, what, text, detail, actor FROM (
  (SELECT l.at, 'consent' AS what, l.scope AS text, l.via AS detail, l.actor FROM consent_ledger l
   WHERE l.workspace_id = :workspace_id AND l.mailbox_id = :mailbox_id ORDER BY l.at DESC LIMIT :limit)
  UNION ALL
  (SELECT CASE WHEN k.rate IS NULL THEN a.at ELSE coalesce(
      (SELECT e.business_at - (e.machine_at - a.at) * k.rate FROM clock_epochs e WHERE e.machine_at >= a.at
       ORDER BY e.machine_at LIMIT 1),
      k.business_at - greatest(k.ticked_at - a.at, interval '0') * k.rate) END,
    a.action, '', coalesce(a.detail ->> 'reason', ''), a.actor
   FROM audit_events a LEFT JOIN clock k ON true
   WHERE a.workspace_id = :workspace_id AND a.subject = :address AND a.action LIKE 'mailbox.%%'
     AND a.action <> 'mailbox.consent' ORDER BY a.at DESC LIMIT :limit)
  UNION ALL
  (SELECT c.day::timestamp AT TIME ZONE :timezone, 'state', c.state, coalesce(c.reasons -> 0 ->> 'text', ''), ''
   FROM (SELECT x.day, x.state, x.reasons, lag(x.state) OVER (ORDER BY x.day) AS before FROM controller_rows x
         WHERE x.workspace_id = :workspace_id AND x.mailbox_id = :mailbox_id AND x.day > :today::date - 90) c
   WHERE c.state IS DISTINCT FROM c.before ORDER BY c.day DESC LIMIT :limit)
  UNION ALL
  (SELECT coalesce(o.sending_at, o.due_at), o.state, coalesce(o.peer_address, ''), o.reason, '' FROM outbound o
   WHERE o.workspace_id = :workspace_id AND o.mailbox_id = :mailbox_id AND o.day > :today::date - 30
     AND o.state IN ('bounced', 'failed', 'unconfirmed') ORDER BY o.day DESC LIMIT :limit)) t
ORDER BY at DESC LIMIT :limit;

-- name: open_wishes
-- Wishes about pools that are not fulfilled yet, and those just refused.
SELECT c.id, c.kind, c.subject_id, c.payload, c.seen_generation, c.actor, c.state, c.outcome, c.created_at
FROM commands c
WHERE c.kind LIKE 'pool.%%' AND (c.state = 'open' OR (c.state = 'refused' AND c.finished_at > :since))
ORDER BY c.created_at DESC LIMIT 20;

-- The domains of the workspace's mailboxes with the latest report on each.
-- name: dns_reports
SELECT m.domain, m.mailboxes, m.can_ask, r.selectors, r.report, r.checked_at, q.domain IS NOT NULL AS asked
FROM (SELECT domain, count(*)::integer AS mailboxes,
    bool_or(consent <> 'none' AND state IN ('active', 'paused')) AS can_ask
  FROM mailboxes WHERE state <> 'removed' AND (:domain::text IS NULL OR domain = :domain) GROUP BY domain) m
LEFT JOIN dns_reports r ON r.domain = m.domain
LEFT JOIN (SELECT DISTINCT b.domain FROM action a
  JOIN mailboxes b ON b.workspace_id = a.workspace_id AND b.id = a.mailbox_id
  WHERE a.kind = 'check_dns' AND a.state IN ('pending', 'leased')) q ON q.domain = m.domain
ORDER BY r.checked_at DESC NULLS LAST, m.domain LIMIT :limit;

-- name: ask_dns!
WITH asked AS (
  INSERT INTO dns_reports AS r (workspace_id, domain, selectors, next_check_at)
  VALUES (:workspace_id, :domain, coalesce(:selectors::text[], '{}'), :next_at)
  ON CONFLICT (workspace_id, domain) DO UPDATE SET selectors = coalesce(:selectors::text[], r.selectors),
    next_check_at = excluded.next_check_at)
INSERT INTO action (workspace_id, mailbox_id, kind, due_at)
SELECT m.workspace_id, m.id, 'check_dns', :now FROM mailboxes m
WHERE m.domain = :domain AND m.consent <> 'none' AND m.state IN ('active', 'paused') ORDER BY m.id LIMIT 1
ON CONFLICT DO NOTHING;

-- name: streams
SELECT session_id, workspaces FROM signin.streams(:sessions, :now, :idle);
