-- What a message costs, in single steps by key: their plans are kept for the session, and neither they nor their
-- cost grow with the tables. What the functions promise is as before (0014, 0010 for carry.claim_send, 0009 for
-- sched.unbind_lost_peers); besides, nothing is claimed under a lease that another has taken.
-- `(state = ...) IS TRUE` keeps the partial index of held actions out of a look-up by key: each message leaves dead
-- entries in it, and the primary key needs none of them.

-- As before, without a regular expression: row-level security asks this in each statement of a worker.
CREATE OR REPLACE FUNCTION worker_workspace() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN starts_with(session_user, '@prefix@_w_') AND length(session_user) = length('@prefix@_w_') + 32
    AND translate(right(session_user, 32), '0123456789abcdef', '') = '' THEN right(session_user, 32)::uuid END
$$;

CREATE OR REPLACE FUNCTION claim_action(p_workspace uuid, p_mailbox uuid, p_token bigint, p_now timestamptz)
RETURNS TABLE (id uuid, kind text, due_at timestamptz, not_after timestamptz, attempt integer, outbound_id uuid,
  inbound_id uuid)
LANGUAGE plpgsql VOLATILE ROWS 1 SET search_path = mailhearth, pg_temp AS $$
#variable_conflict use_column
DECLARE
  only_kind text;
BEGIN
  PERFORM 1 FROM mailboxes m
  WHERE m.workspace_id = p_workspace AND m.id = p_mailbox AND m.consent <> 'none' AND m.state <> 'removed';
  IF NOT FOUND THEN
    RETURN;
  END IF;
  PERFORM 1 FROM mailbox_leases l
  WHERE l.workspace_id = p_workspace AND l.mailbox_id = p_mailbox AND l.token = p_token AND l.owner IS NOT NULL;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  SELECT CASE w.state WHEN 'deleting' THEN 'purge' END INTO only_kind
  FROM workspaces w WHERE w.workspace_id = p_workspace AND w.state IN ('active', 'deleting');
  IF NOT FOUND THEN
    RETURN;
  END IF;
  RETURN QUERY
  UPDATE action SET state = 'leased', lease_token = p_token, attempt = action.attempt + 1
  WHERE action.workspace_id = p_workspace AND action.id = (
    SELECT a.id FROM action a
    WHERE a.workspace_id = p_workspace AND a.mailbox_id = p_mailbox AND a.state = 'pending' AND a.due_at <= p_now
      AND (only_kind IS NULL OR a.kind = only_kind)
    ORDER BY a.due_at, array_position('{send,poll,rescue,read,flag,file,expunge}'::text[], a.kind), a.id
    LIMIT 1 FOR UPDATE OF a SKIP LOCKED)
  RETURNING action.id, action.kind, action.due_at, action.not_after, action.attempt, action.outbound_id,
    action.inbound_id;
END $$;

CREATE OR REPLACE FUNCTION begin_send(p_workspace uuid, p_action uuid, p_token bigint, p_machine timestamptz,
  p_gap interval, p_lease_seconds double precision) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = mailhearth, pg_temp AS $$
DECLARE
  at timestamptz := coalesce((SELECT c.business_at FROM business_clock c), p_machine);
  mailbox uuid;
  message uuid;
BEGIN
  SELECT a.mailbox_id, a.outbound_id INTO mailbox, message FROM action a
  WHERE a.workspace_id = p_workspace AND a.id = p_action AND a.lease_token = p_token AND (a.state = 'leased') IS TRUE
    AND (a.not_after IS NULL OR at <= a.not_after);
  IF NOT FOUND OR carry.claim_send(message) IS DISTINCT FROM 'ok' THEN
    RETURN false;
  END IF;
  PERFORM 1 FROM outbound o WHERE o.workspace_id = p_workspace AND o.id = message AND o.state = 'bound';
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  -- Looked at once more by the updates themselves: each waits for whoever is changing the row.
  UPDATE mailbox_leases
  SET expires_at = greatest(expires_at, clock_timestamp() + make_interval(secs => p_lease_seconds))
  WHERE workspace_id = p_workspace AND mailbox_id = mailbox AND token = p_token AND owner IS NOT NULL
    AND (last_sent_at IS NULL OR last_sent_at + p_gap <= at);
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  UPDATE action SET state = 'sending'
  WHERE workspace_id = p_workspace AND id = p_action AND lease_token = p_token AND (state = 'leased') IS TRUE;
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

CREATE OR REPLACE FUNCTION settle_send(p_workspace uuid, p_action uuid, p_token bigint, p_machine timestamptz,
  p_state text, p_reason text, p_smtp_reply text, p_poll_at timestamptz, p_evidence_after interval, p_retention interval)
RETURNS timestamptz
LANGUAGE plpgsql VOLATILE SET search_path = mailhearth, pg_temp AS $$
DECLARE
  at timestamptz := coalesce((SELECT c.business_at FROM business_clock c), p_machine);
  mailbox uuid;
  message uuid;
  answered uuid;
BEGIN
  UPDATE action SET state = CASE p_state WHEN 'sent' THEN 'done' ELSE p_state END, reason = p_reason, finished_at = at
  WHERE workspace_id = p_workspace AND id = p_action AND lease_token = p_token
    AND (state IN ('leased', 'sending')) IS TRUE
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

-- Ends a look into a mailbox: how far its folders were read (p_folders: folder, uidvalidity, uidnext, modseq), that it
-- was looked into and can be signed in to, whether strikes are forgotten (p_works), and when to look again (or null).
-- Returns business time; null, and nothing written, when the action is not the caller's any more.
CREATE FUNCTION settle_poll(p_workspace uuid, p_mailbox uuid, p_action uuid, p_token bigint, p_machine timestamptz,
  p_began timestamptz, p_folders jsonb, p_works boolean, p_again timestamptz) RETURNS timestamptz
LANGUAGE plpgsql VOLATILE SET search_path = mailhearth, pg_temp AS $$
DECLARE
  at timestamptz := coalesce((SELECT c.business_at FROM business_clock c), p_machine);
BEGIN
  UPDATE action SET state = 'done', reason = '', finished_at = at
  WHERE workspace_id = p_workspace AND id = p_action AND lease_token = p_token AND (state = 'leased') IS TRUE;
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  INSERT INTO folder_states (workspace_id, mailbox_id, folder, uidvalidity, uidnext, modseq, scanned_at)
  SELECT p_workspace, p_mailbox, f.folder, f.uidvalidity, f.uidnext, f.modseq, p_began
  FROM jsonb_to_recordset(p_folders) AS f(folder text, uidvalidity bigint, uidnext bigint, modseq bigint)
  ON CONFLICT (workspace_id, mailbox_id, folder) DO UPDATE SET uidvalidity = excluded.uidvalidity,
    uidnext = excluded.uidnext, modseq = excluded.modseq, scanned_at = excluded.scanned_at;
  UPDATE mailbox_leases SET last_poll_at = greatest(last_poll_at, p_began)
  WHERE workspace_id = p_workspace AND mailbox_id = p_mailbox;
  UPDATE mailboxes SET connected_at = p_began
  WHERE workspace_id = p_workspace AND id = p_mailbox AND connected_at IS NULL;
  IF p_works THEN
    UPDATE mailboxes SET auth_failures = 0, last_error = '',
      state = CASE WHEN state = 'needs_reauth' THEN 'active' ELSE state END,
      state_reason = CASE WHEN state = 'needs_reauth' THEN '' ELSE state_reason END,
      state_since = CASE WHEN state = 'needs_reauth' THEN p_began ELSE state_since END
    WHERE workspace_id = p_workspace AND id = p_mailbox AND (auth_failures > 0 OR last_error <> '');
  END IF;
  IF p_again IS NOT NULL THEN
    INSERT INTO action (workspace_id, mailbox_id, kind, due_at) VALUES (p_workspace, p_mailbox, 'poll', p_again)
    ON CONFLICT (workspace_id, mailbox_id) WHERE kind = 'poll' AND state = 'pending'
    DO UPDATE SET due_at = excluded.due_at WHERE excluded.due_at < action.due_at;
  END IF;
  RETURN at;
END $$;

-- Takes the lock on a mailbox with its fencing token, unless another worker holds it or it may not be signed in to.
-- Without consent a mailbox is off; in a workspace that is deleted only `purge` is claimed.
CREATE FUNCTION take_mailbox(p_workspace uuid, p_mailbox uuid, p_owner text, p_seconds double precision)
RETURNS TABLE (token bigint, lease_poll_at timestamptz, lease_sent_at timestamptz)
LANGUAGE plpgsql VOLATILE ROWS 1 SET search_path = mailhearth, pg_temp AS $$
#variable_conflict use_column
BEGIN
  PERFORM 1 FROM mailboxes m JOIN workspaces w ON w.workspace_id = m.workspace_id AND w.state IN ('active', 'deleting')
  WHERE m.workspace_id = p_workspace AND m.id = p_mailbox AND m.consent <> 'none' AND m.state <> 'removed';
  IF FOUND THEN
    RETURN QUERY
    UPDATE mailbox_leases l
    SET token = l.token + 1, owner = p_owner, expires_at = clock_timestamp() + make_interval(secs => p_seconds)
    WHERE l.workspace_id = p_workspace AND l.mailbox_id = p_mailbox
      AND (l.owner IS NULL OR l.expires_at < clock_timestamp())
    RETURNING l.token, l.last_poll_at, l.last_sent_at;
  END IF;
END $$;

-- Claims what is next, and gives a send's message with it. Whether that may leave is begin_send's to say.
-- Where nothing is due any more the lease is freed in the same step (`freed`). One row, empty when p_now is null.
CREATE FUNCTION next_action(p_workspace uuid, p_mailbox uuid, p_token bigint, p_now timestamptz)
RETURNS TABLE (c_id uuid, c_kind text, c_due_at timestamptz, c_not_after timestamptz, c_attempt integer,
  c_outbound_id uuid, c_inbound_id uuid, freed boolean, o_kind text, o_state text,
  o_correlation_id uuid, o_peer_address text, o_peer_name text, o_peer_domain text, o_subject text, o_turn integer,
  o_message_id text, o_in_reply_to text, o_refs text[], o_reply_to_inbound uuid, o_seed bigint, o_library text)
LANGUAGE plpgsql VOLATILE ROWS 1 SET search_path = mailhearth, pg_temp AS $$
BEGIN
  freed := false;
  IF p_now IS NOT NULL THEN
    SELECT c.id, c.kind, c.due_at, c.not_after, c.attempt, c.outbound_id, c.inbound_id
    INTO c_id, c_kind, c_due_at, c_not_after, c_attempt, c_outbound_id, c_inbound_id
    FROM claim_action(p_workspace, p_mailbox, p_token, p_now) c;
    IF c_id IS NULL THEN
      UPDATE mailbox_leases SET owner = NULL, expires_at = NULL, woken_at = NULL
      WHERE workspace_id = p_workspace AND mailbox_id = p_mailbox AND token = p_token;
      freed := FOUND;
    ELSIF c_kind = 'send' THEN
      SELECT o.kind, o.state, o.correlation_id, o.peer_address, o.peer_name, o.peer_domain, o.subject, o.turn,
        o.message_id, o.in_reply_to, o.refs, o.reply_to_inbound, o.seed, o.library
      INTO o_kind, o_state, o_correlation_id, o_peer_address, o_peer_name, o_peer_domain, o_subject,
        o_turn, o_message_id, o_in_reply_to, o_refs, o_reply_to_inbound, o_seed, o_library
      FROM outbound o WHERE o.workspace_id = p_workspace AND o.id = c_outbound_id;
    END IF;
  END IF;
  RETURN NEXT;
END $$;

REVOKE ALL ON FUNCTION take_mailbox(uuid, uuid, text, double precision),
  next_action(uuid, uuid, bigint, timestamptz),
  settle_poll(uuid, uuid, uuid, bigint, timestamptz, timestamptz, jsonb, boolean, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION take_mailbox(uuid, uuid, text, double precision),
  next_action(uuid, uuid, bigint, timestamptz),
  settle_poll(uuid, uuid, uuid, bigint, timestamptz, timestamptz, jsonb, boolean, timestamptz) TO @worker@;

SET LOCAL ROLE @carrier@;

CREATE OR REPLACE FUNCTION carry.claim_send(p_outbound uuid) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
DECLARE
  o record;
  m record;
  i record;
  p record;
BEGIN
  SELECT x.workspace_id, x.mailbox_id, x.pair_id, x.due_at INTO o
  FROM outbound x WHERE x.workspace_id = worker_workspace() AND x.id = p_outbound;
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  IF o.due_at <= (SELECT n.restored_at FROM installation n) THEN
    RETURN 'restored';
  END IF;
  SELECT x.state, x.consent INTO m FROM mailboxes x WHERE x.workspace_id = o.workspace_id AND x.id = o.mailbox_id;
  IF (m.state = 'active' AND m.consent <> 'none'
      AND (SELECT w.state FROM workspaces w WHERE w.workspace_id = o.workspace_id) = 'active') IS NOT TRUE THEN
    RETURN 'own_mailbox';
  END IF;
  SELECT x.workspace_id, x.mailbox_id INTO i FROM inbound x WHERE x.pair_id = o.pair_id;
  IF NOT FOUND THEN
    RETURN 'peer';
  END IF;
  SELECT x.state, x.consent, x.auth_failures, x.pool_id INTO p
  FROM mailboxes x WHERE x.workspace_id = i.workspace_id AND x.id = i.mailbox_id;
  IF (p.consent <> 'none' AND p.state IN ('active', 'needs_reauth')
      AND p.auth_failures < coalesce((SELECT (l.policy ->> 'exclude_after_failures')::integer FROM pools l
                                      WHERE l.workspace_id = i.workspace_id AND l.id = p.pool_id), 10)
      AND (i.workspace_id = o.workspace_id OR (p.consent = 'network' AND m.consent = 'network'))
      AND (SELECT w.state FROM workspaces w WHERE w.workspace_id = i.workspace_id) = 'active') IS NOT TRUE THEN
    RETURN 'peer';
  END IF;
  RETURN 'ok';
END $$;

-- As before, but a look that is planned early enough is only read, not tried to be planned again.
CREATE OR REPLACE FUNCTION carry.left_sender(p_outbound uuid, p_sent_at timestamptz, p_poll_at timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
DECLARE
  twin record;
  look_at timestamptz;
BEGIN
  UPDATE inbound i SET state = 'in_flight', sent_at = p_sent_at
  FROM outbound o
  WHERE o.workspace_id = worker_workspace() AND o.id = p_outbound AND o.state IN ('sent', 'uncertain')
    AND i.pair_id = o.pair_id AND i.state = 'expected'
  RETURNING i.workspace_id, i.mailbox_id INTO twin;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  SELECT greatest(p_poll_at, coalesce(l.last_poll_at + interval '10 minutes', p_poll_at)) INTO look_at
  FROM mailbox_leases l WHERE l.workspace_id = twin.workspace_id AND l.mailbox_id = twin.mailbox_id;
  PERFORM 1 FROM action a
  WHERE a.workspace_id = twin.workspace_id AND a.mailbox_id = twin.mailbox_id AND a.kind = 'poll' AND a.state = 'pending'
    AND a.due_at <= look_at;
  IF NOT FOUND THEN
    INSERT INTO action (workspace_id, mailbox_id, kind, due_at)
    VALUES (twin.workspace_id, twin.mailbox_id, 'poll', look_at)
    ON CONFLICT (workspace_id, mailbox_id) WHERE kind = 'poll' AND state = 'pending'
    DO UPDATE SET due_at = excluded.due_at WHERE excluded.due_at < action.due_at;
  END IF;
END $$;

RESET ROLE;
SET LOCAL ROLE @planner@;

-- As before, but each domain is looked at once in a pass, not once for each message (OFFSET 0 keeps the look where it
-- is written).
CREATE OR REPLACE FUNCTION sched.unbind_lost_peers(p_now timestamptz) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
DECLARE
  n integer;
BEGIN
  WITH bound AS MATERIALIZED (
    SELECT o.workspace_id, o.id, o.pair_id, o.kind, o.reply_to_inbound, m.workspace_id AS peer_workspace, m.domain,
      i.id IS NULL OR m.state NOT IN ('active', 'needs_reauth') OR m.consent = 'none' OR m.phase = 'blocked'
        OR m.auth_failures >= coalesce((p.policy ->> 'exclude_after_failures')::integer, 10)
        OR w.state <> 'active'
        OR (i.workspace_id <> o.workspace_id AND (m.consent <> 'network' OR s.consent <> 'network')) AS gone
    FROM outbound o
    JOIN mailboxes s ON s.workspace_id = o.workspace_id AND s.id = o.mailbox_id
    LEFT JOIN inbound i ON i.pair_id = o.pair_id
    LEFT JOIN mailboxes m ON m.workspace_id = i.workspace_id AND m.id = i.mailbox_id
    LEFT JOIN pools p ON p.workspace_id = m.workspace_id AND p.id = m.pool_id
    LEFT JOIN workspaces w ON w.workspace_id = m.workspace_id
    WHERE o.state = 'bound'),
  blocked AS MATERIALIZED (
    SELECT d.peer_workspace, d.domain FROM (SELECT DISTINCT b.peer_workspace, b.domain FROM bound b OFFSET 0) d
    WHERE sched.domain_blocked(d.peer_workspace, d.domain, p_now) IS NOT NULL),
  lost AS (
    SELECT b.workspace_id, b.id, b.pair_id, b.kind, b.reply_to_inbound FROM bound b
    WHERE b.gone OR (b.peer_workspace, b.domain) IN (SELECT k.peer_workspace, k.domain FROM blocked k)),
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

RESET ROLE;
