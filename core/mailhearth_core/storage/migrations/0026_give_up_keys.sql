-- A private key that is lost for good is given up: what was sealed to it goes, and its mailboxes are to be connected again.

GRANT UPDATE (last_error, last_error_at) ON mailboxes TO @warden@;

SET LOCAL ROLE @warden@;

-- Returns what was lost; no row when there is no such version. Doing it again removes what was sealed in the same moment.
-- A paused mailbox stays paused. One that a Secret declares is sealed anew from it, as if the Secret had changed.
CREATE FUNCTION warden.abandon_key(p_workspace uuid, p_version integer, p_reason text, p_actor text,
  p_machine timestamptz) RETURNS TABLE (credentials bigint, mailboxes bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
#variable_conflict use_column
DECLARE
  at timestamptz := coalesce((SELECT c.business_at FROM business_clock c), p_machine);
  sealed bigint;
  boxes bigint;
BEGIN
  -- Waits for whoever seals to it in this moment: their rows refer to this one.
  PERFORM 1 FROM key_versions k WHERE k.workspace_id = p_workspace AND k.version = p_version FOR UPDATE;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  WITH gone AS (
    DELETE FROM sealed_credentials s WHERE s.workspace_id = p_workspace AND s.key_version = p_version
    RETURNING s.mailbox_id),
  told AS (
    UPDATE mailboxes m SET last_error = p_reason, last_error_at = at,
      state = CASE WHEN m.state = 'active' THEN 'needs_reauth' ELSE m.state END,
      state_reason = CASE WHEN m.state = 'active' THEN p_reason ELSE m.state_reason END,
      state_since = CASE WHEN m.state = 'active' THEN at ELSE m.state_since END,
      declared_digest = CASE WHEN m.declared_by IS NOT NULL THEN '' END
    WHERE m.workspace_id = p_workspace AND m.state <> 'removed' AND m.id IN (SELECT g.mailbox_id FROM gone g)
    RETURNING 1)
  SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM told) INTO sealed, boxes;
  DELETE FROM connection_attempts a WHERE a.workspace_id = p_workspace AND a.key_version = p_version;
  -- As a whole: some of its rows could not be carried out.
  DELETE FROM mailbox_imports i WHERE i.workspace_id = p_workspace AND EXISTS (SELECT 1 FROM mailbox_import_rows r
    WHERE r.workspace_id = i.workspace_id AND r.import_id = i.id AND r.key_version = p_version);
  UPDATE key_versions k SET state = 'destroyed', state_since = p_machine
  WHERE k.workspace_id = p_workspace AND k.version = p_version AND k.state <> 'destroyed';
  IF FOUND OR sealed > 0 THEN
    INSERT INTO audit_events (workspace_id, action, actor, subject, detail, at)
    VALUES (p_workspace, 'keys.abandoned', p_actor, p_version::text,
      jsonb_build_object('credentials', sealed, 'mailboxes', boxes), p_machine);
  END IF;
  RETURN QUERY SELECT sealed, boxes;
END $$;
REVOKE ALL ON FUNCTION warden.abandon_key(uuid, integer, text, text, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION warden.abandon_key(uuid, integer, text, text, timestamptz) TO @operator@;
RESET ROLE;
