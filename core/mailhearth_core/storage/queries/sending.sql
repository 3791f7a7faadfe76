-- A drain's own statements, each a whole transaction: claiming, and the two that a message costs.

-- name: claim^
-- The next action, and for a send its message and whether it may leave, as far as can be seen now.
SELECT t.now, c.id, c.kind, c.due_at, c.not_after, c.attempt, c.outbound_id, c.inbound_id,
  CASE WHEN c.kind = 'send' THEN carry.claim_send(c.outbound_id) END AS verdict,
  o.kind AS out_kind, o.state, o.correlation_id, o.peer_address, o.peer_name, o.peer_domain, o.subject, o.turn,
  o.message_id, o.in_reply_to, o.refs, o.reply_to_inbound, o.seed, o.library
FROM (SELECT coalesce((SELECT b.business_at FROM business_clock b), :machine) AS now) t
LEFT JOIN LATERAL claim_action(:workspace_id, :mailbox_id, :token, t.now) c ON true
LEFT JOIN outbound o ON o.workspace_id = :workspace_id AND o.id = c.outbound_id;

-- name: begin$
SELECT begin_send(:workspace_id, :action_id, :token, :machine, :gap, :seconds);

-- name: settle$
SELECT settle_send(:workspace_id, :action_id, :token, :machine, :state, :reason, :smtp_reply, :poll_at,
  :evidence_after, :retention);

-- name: settle_and_claim^
-- Both in one transaction; t.now is null when the message was not ours to settle, and then nothing is claimed.
SELECT t.now, c.id, c.kind, c.due_at, c.not_after, c.attempt, c.outbound_id, c.inbound_id,
  CASE WHEN c.kind = 'send' THEN carry.claim_send(c.outbound_id) END AS verdict,
  o.kind AS out_kind, o.state, o.correlation_id, o.peer_address, o.peer_name, o.peer_domain, o.subject, o.turn,
  o.message_id, o.in_reply_to, o.refs, o.reply_to_inbound, o.seed, o.library
FROM (SELECT settle_send(:workspace_id, :action_id, :token, :machine, :state, :reason, :smtp_reply, :poll_at,
  :evidence_after, :retention) AS now OFFSET 0) t
LEFT JOIN LATERAL claim_action(:workspace_id, :mailbox_id, :token, t.now) c ON true
LEFT JOIN outbound o ON o.workspace_id = :workspace_id AND o.id = c.outbound_id;

-- name: give_back!
-- What was claimed ahead and not begun.
UPDATE action SET state = 'pending', lease_token = NULL, attempt = attempt - 1
WHERE workspace_id = :workspace_id AND id = :id AND lease_token = :token AND state = 'leased';
