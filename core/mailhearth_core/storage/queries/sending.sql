-- A drain's own statements, each a whole transaction by itself: the lease, claiming, what a message or a look costs.
-- :machine is the worker's clock, which is business time where no clock is scaled.

-- name: take^
-- The mailbox, its lease and the first action; no row when it may not be worked on, or another worker holds it.
-- Its sealed records, by field, come with it where :sealed says that it will have to be signed in to.
SELECT m.*, p.policy, w.state AS workspace_state, n.sandbox, l.token, l.lease_poll_at, l.lease_sent_at, e.records,
  t.now, c.*
FROM mailboxes m
JOIN pools p ON p.workspace_id = m.workspace_id AND p.id = m.pool_id
JOIN workspaces w ON w.workspace_id = m.workspace_id
CROSS JOIN installation n
CROSS JOIN (SELECT coalesce((SELECT b.business_at FROM business_clock b), :machine) AS now) t
CROSS JOIN LATERAL take_mailbox(m.workspace_id, m.id, :owner, :seconds) l
CROSS JOIN LATERAL next_action(m.workspace_id, m.id, l.token, t.now) c
CROSS JOIN LATERAL (
  SELECT jsonb_object_agg(s.field, jsonb_build_object('key_version', s.key_version, 'fingerprint', k.fingerprint,
    'sealed', encode(s.sealed, 'hex'))) AS records
  FROM sealed_credentials s
  JOIN key_versions k ON k.workspace_id = s.workspace_id AND k.version = s.key_version
  WHERE :sealed AND s.workspace_id = m.workspace_id AND s.mailbox_id = m.id) e
WHERE m.workspace_id = :workspace_id AND m.id = :mailbox_id;

-- name: claim^
-- The next action, or the lease freed.
SELECT t.now, c.*
FROM (SELECT coalesce((SELECT b.business_at FROM business_clock b), :machine) AS now) t
CROSS JOIN LATERAL next_action(:workspace_id, :mailbox_id, :token, t.now) c;

-- name: give_back!
-- What was claimed and not begun. A look for which another was asked since stays held: without the lease it is merged.
UPDATE action a SET state = 'pending', lease_token = NULL, attempt = a.attempt - 1
WHERE a.workspace_id = :workspace_id AND a.id = :id AND a.lease_token = :token AND a.state = 'leased'
  AND NOT (a.kind = 'poll' AND EXISTS (SELECT 1 FROM action other WHERE other.workspace_id = a.workspace_id
    AND other.mailbox_id = a.mailbox_id AND other.kind = 'poll' AND other.state = 'pending'));

-- name: begin$
SELECT begin_send(:workspace_id, :action_id, :token, :machine, :gap, :seconds);

-- name: settle$
SELECT settle_send(:workspace_id, :action_id, :token, :machine, :state, :reason, :smtp_reply, :poll_at,
  :evidence_after, :retention);

-- name: settle_and_claim^
-- Both in one transaction; t.now is null when the message was not ours to settle, and then nothing is claimed.
SELECT t.now, c.*
FROM (SELECT settle_send(:workspace_id, :action_id, :token, :machine, :state, :reason, :smtp_reply, :poll_at,
  :evidence_after, :retention) AS now OFFSET 0) t
CROSS JOIN LATERAL next_action(:workspace_id, :mailbox_id, :token, t.now) c;

-- name: settle_poll$
SELECT settle_poll(:workspace_id, :mailbox_id, :action_id, :token, :machine, :began, :folders, :works, :again);

-- name: settle_poll_and_claim^
-- Both in one transaction, as settle_and_claim.
SELECT t.now, c.*
FROM (SELECT settle_poll(:workspace_id, :mailbox_id, :action_id, :token, :machine, :began, :folders, :works,
  :again) AS now OFFSET 0) t
CROSS JOIN LATERAL next_action(:workspace_id, :mailbox_id, :token, t.now) c;

-- name: credential^
-- One field's sealed record, with what is known of the key it is sealed to.
SELECT s.key_version, s.sealed, k.fingerprint
FROM sealed_credentials s
JOIN key_versions k ON k.workspace_id = s.workspace_id AND k.version = s.key_version
WHERE s.workspace_id = :workspace_id AND s.mailbox_id = :mailbox_id AND s.field = :field;
