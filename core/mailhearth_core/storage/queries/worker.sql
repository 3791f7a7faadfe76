-- A worker's own workspace: its login sees nothing else. :now is business time.

-- name: take_lease^
-- The lock on a mailbox with its fencing token; no row when another worker holds it.
UPDATE mailbox_leases
SET token = token + 1, owner = :owner, expires_at = clock_timestamp() + make_interval(secs => :seconds)
WHERE workspace_id = :workspace_id AND mailbox_id = :mailbox_id
  AND (owner IS NULL OR expires_at < clock_timestamp())
RETURNING token, last_poll_at, last_sent_at;

-- name: renew_lease^
UPDATE mailbox_leases SET expires_at = clock_timestamp() + make_interval(secs => :seconds)
WHERE workspace_id = :workspace_id AND mailbox_id = :mailbox_id AND token = :token AND owner IS NOT NULL
RETURNING token;

-- name: release_lease!
UPDATE mailbox_leases SET owner = NULL, expires_at = NULL, woken_at = NULL
WHERE workspace_id = :workspace_id AND mailbox_id = :mailbox_id AND token = :token;

-- name: release_leases_of!
-- A worker that starts anew under the same name frees what it held before it was killed.
UPDATE mailbox_leases SET expires_at = clock_timestamp() - interval '1 second'
WHERE workspace_id = :workspace_id AND owner = :owner;

-- name: note_polled!
UPDATE mailbox_leases SET last_poll_at = greatest(last_poll_at, :at)
WHERE workspace_id = :workspace_id AND mailbox_id = :mailbox_id;

-- name: mailbox^
SELECT m.*, p.policy, w.state AS workspace_state, n.sandbox
FROM mailboxes m
JOIN pools p ON p.workspace_id = m.workspace_id AND p.id = m.pool_id
JOIN workspaces w ON w.workspace_id = m.workspace_id
CROSS JOIN installation n
WHERE m.workspace_id = :workspace_id AND m.id = :mailbox_id;

-- name: credentials
SELECT field, key_version, generation, sealed FROM sealed_credentials
WHERE workspace_id = :workspace_id AND mailbox_id = :mailbox_id;

-- name: key_versions
SELECT version, state, public_key, fingerprint FROM key_versions WHERE workspace_id = :workspace_id;

-- name: claim_action^
-- Nothing is claimed in a mailbox that may not be signed in to. What is due at the same moment is done in the
-- order of a reader's deeds.
UPDATE action SET state = 'leased', lease_token = :token, attempt = attempt + 1
WHERE workspace_id = :workspace_id AND id = (
  SELECT a.id FROM action a
  WHERE a.workspace_id = :workspace_id AND a.mailbox_id = :mailbox_id AND a.state = 'pending' AND a.due_at <= :now
    AND EXISTS (SELECT 1 FROM mailboxes m JOIN workspaces w ON w.workspace_id = m.workspace_id
                  AND (w.state = 'active' OR w.state = 'deleting' AND a.kind = 'purge')
                WHERE m.workspace_id = a.workspace_id AND m.id = a.mailbox_id AND m.consent <> 'none' AND m.state <> 'removed')
  ORDER BY a.due_at, array_position('{send,poll,rescue,read,flag,file,expunge}'::text[], a.kind), a.id
  LIMIT 1 FOR UPDATE OF a SKIP LOCKED)
RETURNING id, kind, due_at, not_after, attempt, outbound_id, inbound_id;

-- name: finish_action!
UPDATE action SET state = :state, reason = :reason, finished_at = :now
WHERE workspace_id = :workspace_id AND id = :id AND lease_token = :token AND state IN ('leased', 'sending');

-- name: postpone_action!
UPDATE action SET state = 'pending', lease_token = NULL, due_at = :due_at, reason = :reason
WHERE workspace_id = :workspace_id AND id = :id AND lease_token = :token AND state IN ('leased', 'sending');

-- name: postpone_poll!
-- A claimed poll goes back, unless another has been asked for since: then it is merged into that one.
UPDATE action a SET
  state = CASE WHEN other.id IS NULL THEN 'pending' ELSE 'cancelled' END,
  reason = CASE WHEN other.id IS NULL THEN :reason ELSE 'merged' END,
  finished_at = CASE WHEN other.id IS NULL THEN NULL ELSE :due_at::timestamptz END,
  lease_token = NULL, due_at = :due_at
FROM (SELECT 1) one
LEFT JOIN action other ON other.workspace_id = :workspace_id AND other.mailbox_id = :mailbox_id
  AND other.kind = 'poll' AND other.state = 'pending'
WHERE a.workspace_id = :workspace_id AND a.id = :id AND a.lease_token = :token AND a.state = 'leased';

-- name: put_off_actions!
-- Everything else that is due in a mailbox that cannot be signed in to waits as long.
UPDATE action SET due_at = :due_at, reason = :reason
WHERE workspace_id = :workspace_id AND mailbox_id = :mailbox_id AND state = 'pending' AND due_at < :due_at
  AND kind NOT IN ('check_domain', 'check_dns');

-- name: put_off_sends!
-- What the mailbox would send meanwhile waits as long, where its provider wants no more from it.
UPDATE action SET due_at = :due_at, reason = :reason
WHERE workspace_id = :workspace_id AND mailbox_id = :mailbox_id AND state = 'pending' AND due_at < :due_at
  AND kind = 'send';

-- name: add_action!
INSERT INTO action (workspace_id, mailbox_id, kind, due_at, outbound_id, inbound_id)
VALUES (:workspace_id, :mailbox_id, :kind, :due_at, :outbound_id, :inbound_id);

-- name: ask_poll!
INSERT INTO action (workspace_id, mailbox_id, kind, due_at) VALUES (:workspace_id, :mailbox_id, 'poll', :due_at)
ON CONFLICT (workspace_id, mailbox_id) WHERE kind = 'poll' AND state = 'pending'
DO UPDATE SET due_at = least(action.due_at, excluded.due_at);

-- name: outbound^
SELECT * FROM outbound WHERE workspace_id = :workspace_id AND id = :id;

-- name: claim_send$
SELECT carry.claim_send(:outbound_id);

-- name: begin_sending^
-- Committed before a byte of the message leaves; from here on a crash makes it uncertain, never twice sent.
WITH act AS (
  UPDATE action SET state = 'sending'
  WHERE workspace_id = :workspace_id AND id = :action_id AND lease_token = :token AND state = 'leased'
    AND EXISTS (SELECT 1 FROM mailbox_leases h WHERE h.workspace_id = action.workspace_id
                AND h.mailbox_id = action.mailbox_id AND h.token = :token AND h.owner IS NOT NULL)
  RETURNING outbound_id),
lease AS (
  UPDATE mailbox_leases l SET expires_at = greatest(l.expires_at, clock_timestamp() + make_interval(secs => :seconds))
  WHERE l.workspace_id = :workspace_id AND l.token = :token AND l.mailbox_id = (
    SELECT mailbox_id FROM action WHERE workspace_id = :workspace_id AND id = :action_id))
UPDATE outbound o SET state = 'sending', sending_at = :now FROM act
WHERE o.workspace_id = :workspace_id AND o.id = act.outbound_id AND o.state = 'bound'
RETURNING o.id;

-- name: settle_outbound!
UPDATE outbound SET state = :state, reason = :reason, sent_at = :sent_at, smtp_reply = :smtp_reply,
  evidence = :evidence
WHERE workspace_id = :workspace_id AND id = :id AND state IN ('bound', 'sending');

-- name: rebind_sending!
-- Refused before the final dot: nothing has left, it may be tried again.
UPDATE outbound SET state = 'bound', reason = :reason WHERE workspace_id = :workspace_id AND id = :id AND state = 'sending';

-- name: left_sender
SELECT carry.left_sender(:outbound_id, :sent_at, :poll_at);

-- name: withdrawn
SELECT carry.withdrawn(:outbound_id);

-- name: replied!
-- A wish that has ended meanwhile stays ended, unless its reply has left.
UPDATE inbound SET reply_state = :state
WHERE workspace_id = :workspace_id AND id = :id AND (reply_state <> 'expired' OR :state = 'sent');

-- name: evidence_found!
UPDATE outbound SET state = 'sent', evidence = :evidence, sent_at = coalesce(sent_at, sending_at)
WHERE workspace_id = :workspace_id AND id = :id AND state = 'uncertain';

-- name: bounced!
UPDATE outbound SET state = 'bounced', reason = :reason, evidence = 'dsn'
WHERE workspace_id = :workspace_id AND id = :id AND state IN ('sent', 'uncertain')
  AND (placement IS NULL OR placement IN ('missing', 'unobservable'));

-- name: add_bounce!
INSERT INTO domain_bounces (workspace_id, outbound_id, domain, status, at)
VALUES (:workspace_id, :outbound_id, :domain, :status, :at) ON CONFLICT DO NOTHING;

-- name: unanswered_outbound
-- What this mailbox sent and nobody has observed yet: a delivery report may speak of it.
SELECT id, message_id, peer_address, peer_domain, state FROM outbound
WHERE workspace_id = :workspace_id AND mailbox_id = :mailbox_id AND state IN ('sent', 'uncertain')
  AND (placement IS NULL OR placement IN ('missing', 'unobservable')) AND sending_at > :since;

-- name: folder_states
SELECT folder, uidvalidity, uidnext FROM folder_states
WHERE workspace_id = :workspace_id AND mailbox_id = :mailbox_id;

-- name: outstanding
SELECT id, message_id, pair_id, sender_address, subject, seed, library, turn, due_at, sent_at, state, correlation_id,
  copies
FROM inbound
WHERE workspace_id = :workspace_id AND mailbox_id = :mailbox_id AND state IN ('expected', 'in_flight')
  AND due_at <= :now
ORDER BY due_at;

-- name: inbound^
SELECT * FROM inbound WHERE workspace_id = :workspace_id AND id = :id;

-- name: observe!
-- The first observation is immutable.
UPDATE inbound SET state = 'observed', observed_at = :now, arrived_at = :arrived_at, placement = :placement,
  placement_provider = :placement_provider, observed_message_id = :observed_message_id, observed_refs = :observed_refs,
  observed_date = :observed_date, auto_submitted = :auto_submitted, folder = :folder, uidvalidity = :uidvalidity,
  uid = :uid, copies = greatest(copies, 1), reply_state = :reply_state, reply_at = :reply_at
WHERE workspace_id = :workspace_id AND id = :id AND state IN ('expected', 'in_flight');

-- name: mark_scanned!
UPDATE inbound SET inbox_scanned_at = :inbox, junk_scanned_at = :junk
WHERE workspace_id = :workspace_id AND id = ANY (:ids);

-- name: mark_absent!
UPDATE inbound SET state = :state, placement = :state, observed_at = :now
WHERE workspace_id = :workspace_id AND id = :id AND state = 'in_flight';

-- name: carry_observed
SELECT carry.observed(:inbound_id);

-- name: relocate!
UPDATE inbound SET folder = :folder, uidvalidity = :uidvalidity, uid = :uid
WHERE workspace_id = :workspace_id AND id = :id;

-- name: mark_rescued!
UPDATE inbound SET rescued_at = :now WHERE workspace_id = :workspace_id AND id = :id AND rescued_at IS NULL;

-- name: mark_read!
UPDATE inbound SET read_at = :now WHERE workspace_id = :workspace_id AND id = :id AND read_at IS NULL;

-- name: mark_flagged!
UPDATE inbound SET flagged_at = :now WHERE workspace_id = :workspace_id AND id = :id AND flagged_at IS NULL;

-- name: mark_filed!
UPDATE inbound SET filed_at = :now WHERE workspace_id = :workspace_id AND id = :id AND filed_at IS NULL;

-- name: mark_expunged!
UPDATE inbound SET expunged_at = :now, folder = NULL, uid = NULL
WHERE workspace_id = :workspace_id AND id = :id AND expunged_at IS NULL;

-- name: count_copies!
UPDATE inbound SET copies = greatest(copies, :copies) WHERE workspace_id = :workspace_id AND id = :id;

-- name: census_rows
SELECT id, message_id, observed_message_id, state FROM inbound
WHERE workspace_id = :workspace_id AND mailbox_id = :mailbox_id AND expunged_at IS NULL;

-- name: purges_due
SELECT mailbox_id FROM action
WHERE workspace_id = :workspace_id AND kind = 'purge' AND state = 'pending' AND due_at <= :now;

-- name: give_up_purges!
UPDATE action SET state = 'cancelled', reason = 'could not be reached', finished_at = :now
WHERE workspace_id = :workspace_id AND kind = 'purge' AND state = 'pending';

-- name: kept_inbound
-- What was sent to this mailbox and may lie in it still.
SELECT id, message_id, observed_message_id, sender_address, folder, filed_at FROM inbound
WHERE workspace_id = :workspace_id AND mailbox_id = :mailbox_id AND state <> 'expected' AND expunged_at IS NULL;

-- name: kept_outbound
-- What this mailbox sent and may have kept a copy of.
SELECT id, message_id FROM outbound
WHERE workspace_id = :workspace_id AND mailbox_id = :mailbox_id
  AND state IN ('sent', 'uncertain', 'unconfirmed', 'bounced') AND sent_expunged_at IS NULL
ORDER BY sending_at;

-- name: sent_expunged!
UPDATE outbound SET sent_expunged_at = :now WHERE workspace_id = :workspace_id AND id = :id AND sent_expunged_at IS NULL;

-- name: auth_strike^
UPDATE mailboxes SET auth_failures = auth_failures + 1, last_error = :reason, last_error_at = :now,
  state = CASE WHEN state = 'active' AND auth_failures + 1 >= :reauth_after THEN 'needs_reauth' ELSE state END,
  state_reason = CASE WHEN state = 'active' AND auth_failures + 1 >= :reauth_after THEN :reason ELSE state_reason END,
  state_since = CASE WHEN state = 'active' AND auth_failures + 1 >= :reauth_after THEN :now ELSE state_since END
WHERE workspace_id = :workspace_id AND id = :mailbox_id
RETURNING auth_failures, state;

-- name: mailbox_error!
UPDATE mailboxes SET last_error = :reason, last_error_at = :now
WHERE workspace_id = :workspace_id AND id = :mailbox_id;

-- name: content_library^
SELECT name, source FROM content_libraries WHERE workspace_id = :workspace_id AND id = :id;

-- name: save_domain_health!
INSERT INTO domain_health (workspace_id, domain, mx_ok, smtp_ok, detail, checked_at, next_check_at)
VALUES (:workspace_id, :domain, :mx_ok, :smtp_ok, :detail, :now, :now)
ON CONFLICT (workspace_id, domain) DO UPDATE SET mx_ok = excluded.mx_ok, smtp_ok = excluded.smtp_ok,
  detail = excluded.detail, checked_at = excluded.checked_at;

-- name: dns_asked^
SELECT selectors FROM dns_reports WHERE workspace_id = :workspace_id AND domain = :domain;

-- name: save_dns_report!
UPDATE dns_reports SET report = :report, checked_at = clock_timestamp()
WHERE workspace_id = :workspace_id AND domain = :domain;

-- name: start_attempt^
UPDATE connection_attempts SET state = 'running', started_at = clock_timestamp(), steps = '[]'
WHERE workspace_id = :workspace_id AND id = :id AND state IN ('queued', 'running') AND expires_at > clock_timestamp()
RETURNING *;

-- name: report_attempt!
UPDATE connection_attempts SET steps = :steps, state = :state, found = :found,
  finished_at = CASE WHEN :state IN ('ok', 'failed') THEN clock_timestamp() END
WHERE workspace_id = :workspace_id AND id = :id;

-- name: stale_seals
SELECT s.mailbox_id, s.field, s.key_version, s.generation, s.sealed
FROM sealed_credentials s
JOIN key_versions k ON k.workspace_id = s.workspace_id AND k.state = 'active' AND k.version > s.key_version
WHERE s.workspace_id = :workspace_id AND (s.mailbox_id, s.field) > (:after_mailbox, :after_field)
ORDER BY s.mailbox_id, s.field LIMIT :batch;

-- name: reseal!
UPDATE sealed_credentials SET sealed = :sealed, key_version = :key_version, generation = generation + 1,
  sealed_at = :now
WHERE workspace_id = :workspace_id AND mailbox_id = :mailbox_id AND field = :field AND generation = :generation;

-- name: note_unopened!
-- It counts as no work that is due any more: no worker is kept awake for it.
UPDATE sealed_credentials SET unopened = :generation
WHERE workspace_id = :workspace_id AND mailbox_id = :mailbox_id AND field = :field AND generation = :generation;
