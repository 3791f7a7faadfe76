-- The audit chain. Who did something inserts the event and waits for nothing; the sealer, one at a time,
-- gives it a place and a link. Each field that may hold personal details has a salt and a digest of its own:
-- the link covers the digest, so value and salt can be erased (the salt is then NULL).

ALTER TABLE audit_events
  ADD COLUMN seq bigint CHECK (seq >= 1),        -- its place; NULL until it is sealed
  ADD COLUMN actor_salt bytea,
  ADD COLUMN subject_salt bytea,
  ADD COLUMN detail_salt bytea,
  ADD COLUMN actor_digest bytea,
  ADD COLUMN subject_digest bytea,
  ADD COLUMN detail_digest bytea,
  ADD COLUMN sealed_at timestamptz,              -- machine time
  ADD COLUMN link bytea,
  ADD CONSTRAINT audit_events_sealed_whole
    CHECK (num_nulls(seq, actor_digest, subject_digest, detail_digest, sealed_at, link) IN (0, 6));
CREATE UNIQUE INDEX audit_events_chain ON audit_events (workspace_id, seq) WHERE seq IS NOT NULL;
CREATE INDEX audit_events_unsealed ON audit_events (at, id) WHERE seq IS NULL;

ALTER TABLE platform_audit_events
  ADD COLUMN seq bigint CHECK (seq >= 1),
  ADD COLUMN actor_salt bytea,
  ADD COLUMN subject_salt bytea,
  ADD COLUMN detail_salt bytea,
  ADD COLUMN actor_digest bytea,
  ADD COLUMN subject_digest bytea,
  ADD COLUMN detail_digest bytea,
  ADD COLUMN sealed_at timestamptz,
  ADD COLUMN link bytea,
  ADD CONSTRAINT platform_audit_events_sealed_whole
    CHECK (num_nulls(seq, actor_digest, subject_digest, detail_digest, sealed_at, link) IN (0, 6));
CREATE UNIQUE INDEX platform_audit_events_chain ON platform_audit_events (seq) WHERE seq IS NOT NULL;
CREATE INDEX platform_audit_events_unsealed ON platform_audit_events (at, id) WHERE seq IS NULL;

-- Heads of chains, signed by a key that is not in the database. Retention prunes only up to one of them.
CREATE TABLE audit_checkpoints (
  workspace_id uuid NOT NULL REFERENCES workspaces,
  seq          bigint NOT NULL CHECK (seq >= 1),
  link         bytea NOT NULL,
  at           timestamptz NOT NULL,             -- machine time
  public_key   bytea NOT NULL,
  signature    bytea NOT NULL,
  PRIMARY KEY (workspace_id, seq)
);
CREATE TABLE platform_audit_checkpoints (
  seq          bigint PRIMARY KEY CHECK (seq >= 1),
  link         bytea NOT NULL,
  at           timestamptz NOT NULL,
  public_key   bytea NOT NULL,
  signature    bytea NOT NULL
);

ALTER TABLE audit_checkpoints ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_checkpoints FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON audit_checkpoints TO @web@, @cli@
  USING (workspace_id = (SELECT tenant_workspace())) WITH CHECK (workspace_id = (SELECT tenant_workspace()));
CREATE POLICY worker ON audit_checkpoints TO @worker@
  USING (workspace_id = (SELECT worker_workspace())) WITH CHECK (workspace_id = (SELECT worker_workspace()));
CREATE POLICY families ON audit_checkpoints TO @planner@, @carrier@, @steward@, @warden@
  USING (true) WITH CHECK (true);
GRANT SELECT ON audit_checkpoints TO @web@, @cli@;
GRANT SELECT, INSERT, DELETE ON audit_checkpoints, platform_audit_checkpoints TO @planner@;
GRANT SELECT ON audit_checkpoints, platform_audit_checkpoints TO @steward@;
GRANT SELECT, DELETE ON audit_checkpoints TO @warden@;

-- Who tells an event gives neither its place nor its link.
REVOKE INSERT ON audit_events FROM @web@, @cli@, @worker@, @steward@, @warden@;
GRANT INSERT (workspace_id, id, action, actor, subject, detail, at) ON audit_events
  TO @web@, @cli@, @worker@, @steward@, @warden@, @planner@;
REVOKE INSERT ON platform_audit_events FROM @steward@, @warden@;
GRANT INSERT (id, action, actor, subject, detail, at) ON platform_audit_events TO @steward@, @warden@, @planner@;
GRANT SELECT, DELETE ON audit_events, platform_audit_events TO @planner@;
GRANT UPDATE (seq, actor_salt, subject_salt, detail_salt, actor_digest, subject_digest, detail_digest, sealed_at, link)
  ON audit_events, platform_audit_events TO @planner@;
GRANT SELECT ON audit_events, platform_audit_events TO @steward@;
GRANT UPDATE (actor, subject, detail, actor_salt, subject_salt, detail_salt)
  ON audit_events, platform_audit_events TO @steward@;

SET LOCAL ROLE @planner@;

-- Events without a place, oldest first; a workspace of NULL is the platform.
CREATE FUNCTION sched.unsealed_events(p_limit integer)
RETURNS TABLE (workspace_id uuid, id uuid, action text, actor text, subject text, detail text, at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  (SELECT e.workspace_id, e.id, e.action, e.actor, e.subject, e.detail::text, e.at
   FROM audit_events e WHERE e.seq IS NULL ORDER BY e.at, e.id LIMIT p_limit)
  UNION ALL
  (SELECT NULL, e.id, e.action, e.actor, e.subject, e.detail::text, e.at
   FROM platform_audit_events e WHERE e.seq IS NULL ORDER BY e.at, e.id LIMIT p_limit)
$$;

-- The last place that is taken in a chain, also when the events there are gone; no row for a new chain.
CREATE FUNCTION sched.chain_head(p_workspace uuid)
RETURNS TABLE (seq bigint, link bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT h.seq, h.link FROM (
    (SELECT e.seq, e.link FROM audit_events e WHERE e.workspace_id = p_workspace AND e.seq IS NOT NULL
     ORDER BY e.seq DESC LIMIT 1)
    UNION ALL
    (SELECT c.seq, c.link FROM audit_checkpoints c WHERE c.workspace_id = p_workspace ORDER BY c.seq DESC LIMIT 1)
    UNION ALL
    (SELECT e.seq, e.link FROM platform_audit_events e WHERE p_workspace IS NULL AND e.seq IS NOT NULL
     ORDER BY e.seq DESC LIMIT 1)
    UNION ALL
    (SELECT c.seq, c.link FROM platform_audit_checkpoints c WHERE p_workspace IS NULL ORDER BY c.seq DESC LIMIT 1)) h
  ORDER BY h.seq DESC LIMIT 1
$$;

-- Writes places and links; bytes come in hex. Returns how many events had no place until now and still say
-- what was read (an erasure may have come between).
CREATE FUNCTION sched.seal_events(p_seals jsonb) RETURNS integer
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  WITH seals AS (
    SELECT s.workspace_id, s.id, s.actor, s.subject, s.detail, s.seq, s.sealed_at, decode(s.link, 'hex') AS link,
      decode(s.salts ->> 0, 'hex') AS actor_salt, decode(s.salts ->> 1, 'hex') AS subject_salt,
      decode(s.salts ->> 2, 'hex') AS detail_salt, decode(s.digests ->> 0, 'hex') AS actor_digest,
      decode(s.digests ->> 1, 'hex') AS subject_digest, decode(s.digests ->> 2, 'hex') AS detail_digest
    FROM jsonb_to_recordset(p_seals) AS s(workspace_id uuid, id uuid, actor text, subject text, detail text,
      seq bigint, sealed_at timestamptz, link text, salts jsonb, digests jsonb)),
  tenants AS (
    UPDATE audit_events e SET seq = s.seq, sealed_at = s.sealed_at, link = s.link, actor_salt = s.actor_salt,
      subject_salt = s.subject_salt, detail_salt = s.detail_salt, actor_digest = s.actor_digest,
      subject_digest = s.subject_digest, detail_digest = s.detail_digest
    FROM seals s WHERE e.workspace_id = s.workspace_id AND e.id = s.id AND e.seq IS NULL
      AND (e.actor, e.subject, e.detail::text) = (s.actor, s.subject, s.detail) RETURNING 1),
  platform AS (
    UPDATE platform_audit_events e SET seq = s.seq, sealed_at = s.sealed_at, link = s.link,
      actor_salt = s.actor_salt, subject_salt = s.subject_salt, detail_salt = s.detail_salt,
      actor_digest = s.actor_digest, subject_digest = s.subject_digest, detail_digest = s.detail_digest
    FROM seals s WHERE s.workspace_id IS NULL AND e.id = s.id AND e.seq IS NULL
      AND (e.actor, e.subject, e.detail::text) = (s.actor, s.subject, s.detail) RETURNING 1)
  SELECT ((SELECT count(*) FROM tenants) + (SELECT count(*) FROM platform))::integer
$$;

-- Chains whose head no checkpoint vouches for yet.
CREATE FUNCTION sched.heads_to_sign()
RETURNS TABLE (workspace_id uuid, seq bigint, link bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT s.workspace_id, h.seq, h.link
  FROM (SELECT w.workspace_id FROM workspaces w UNION ALL SELECT NULL) s
  CROSS JOIN LATERAL sched.chain_head(s.workspace_id) h
  WHERE NOT EXISTS (SELECT 1 FROM audit_checkpoints c WHERE c.workspace_id = s.workspace_id AND c.seq = h.seq)
    AND NOT EXISTS (SELECT 1 FROM platform_audit_checkpoints c WHERE s.workspace_id IS NULL AND c.seq = h.seq)
$$;

CREATE FUNCTION sched.add_checkpoints(p_points jsonb) RETURNS integer
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  WITH points AS (
    SELECT p.workspace_id, p.seq, p.at, decode(p.link, 'hex') AS link, decode(p.public_key, 'hex') AS public_key,
      decode(p.signature, 'hex') AS signature
    FROM jsonb_to_recordset(p_points) AS p(workspace_id uuid, seq bigint, at timestamptz, link text, public_key text,
      signature text)),
  tenants AS (
    INSERT INTO audit_checkpoints (workspace_id, seq, link, at, public_key, signature)
    SELECT p.workspace_id, p.seq, p.link, p.at, p.public_key, p.signature
    FROM points p JOIN workspaces w ON w.workspace_id = p.workspace_id
    ON CONFLICT DO NOTHING RETURNING 1),
  platform AS (
    INSERT INTO platform_audit_checkpoints (seq, link, at, public_key, signature)
    SELECT p.seq, p.link, p.at, p.public_key, p.signature FROM points p WHERE p.workspace_id IS NULL
    ON CONFLICT DO NOTHING RETURNING 1)
  SELECT ((SELECT count(*) FROM tenants) + (SELECT count(*) FROM platform))::integer
$$;

-- Removes events that are older than p_before, of one chain at a time and only up to a checkpoint all of whose
-- events are as old; the checkpoint stays and is where the rest begins. What was pruned is an event itself.
-- Returns how many events were removed.
CREATE FUNCTION sched.prune_audit(p_before timestamptz, p_batch integer, p_at timestamptz) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
DECLARE
  old record;
  through bigint;
  n bigint := 0;
  removed bigint;
BEGIN
  FOR old IN SELECT w.workspace_id FROM workspaces w
             WHERE w.state <> 'deleting'
               AND (SELECT e.sealed_at FROM audit_events e WHERE e.workspace_id = w.workspace_id AND e.seq IS NOT NULL
                    ORDER BY e.seq LIMIT 1) < p_before LOOP
    EXIT WHEN n >= p_batch;
    SELECT max(c.seq) INTO through FROM audit_checkpoints c
    WHERE c.workspace_id = old.workspace_id
      AND c.seq < coalesce((SELECT min(e.seq) FROM audit_events e WHERE e.workspace_id = old.workspace_id
                            AND e.seq IS NOT NULL AND e.sealed_at >= p_before), 9223372036854775807)
      AND c.seq < (SELECT min(e.seq) + p_batch FROM audit_events e WHERE e.workspace_id = old.workspace_id
                   AND e.seq IS NOT NULL);
    DELETE FROM audit_events e WHERE e.workspace_id = old.workspace_id AND e.seq <= through;
    GET DIAGNOSTICS removed = ROW_COUNT;
    CONTINUE WHEN removed = 0;
    n := n + removed;
    DELETE FROM audit_checkpoints c WHERE c.workspace_id = old.workspace_id AND c.seq < through;
    INSERT INTO audit_events (workspace_id, action, actor, detail, at)
    VALUES (old.workspace_id, 'audit.pruned', 'scheduler', jsonb_build_object('through', through), p_at);
  END LOOP;
  IF (SELECT e.sealed_at FROM platform_audit_events e WHERE e.seq IS NOT NULL ORDER BY e.seq LIMIT 1) < p_before
      AND n < p_batch THEN
    SELECT max(c.seq) INTO through FROM platform_audit_checkpoints c
    WHERE c.seq < coalesce((SELECT min(e.seq) FROM platform_audit_events e
                            WHERE e.seq IS NOT NULL AND e.sealed_at >= p_before), 9223372036854775807)
      AND c.seq < (SELECT min(e.seq) + p_batch FROM platform_audit_events e WHERE e.seq IS NOT NULL);
    DELETE FROM platform_audit_events e WHERE e.seq <= through;
    GET DIAGNOSTICS removed = ROW_COUNT;
    IF removed > 0 THEN
      n := n + removed;
      DELETE FROM platform_audit_checkpoints c WHERE c.seq < through;
      INSERT INTO platform_audit_events (action, actor, detail, at)
      VALUES ('audit.pruned', 'scheduler', jsonb_build_object('through', through), p_at);
    END IF;
  END IF;
  RETURN n;
END $$;

RESET ROLE;
SET LOCAL ROLE @steward@;

-- Erases every mention of a person: as actor, as subject, as a value in the detail. Their digests stay, so the
-- chain stays whole; in each chain one event says what was erased. A workspace of NULL: everywhere.
-- Returns how many fields were erased.
CREATE FUNCTION steward.erase_from_audit(p_workspace uuid, p_person text, p_actor text, p_at timestamptz)
RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
DECLARE
  ws uuid;
  erased jsonb;
  total bigint := 0;
BEGIN
  IF p_person IS NULL OR p_person = '' THEN
    RETURN 0;
  END IF;
  FOR ws IN SELECT w.workspace_id FROM workspaces w
            WHERE w.state <> 'deleting' AND (p_workspace IS NULL OR w.workspace_id = p_workspace) LOOP
    WITH hits AS (
      SELECT e.id, lower(e.actor) = lower(p_person) AS in_actor, lower(e.subject) = lower(p_person) AS in_subject,
        e.action NOT IN ('audit.erased', 'audit.pruned')
          AND jsonb_path_exists(e.detail, '$.** ? (@ == $person)', jsonb_build_object('person', p_person)) AS in_detail
      FROM audit_events e WHERE e.workspace_id = ws),
    gone AS (
      UPDATE audit_events e SET
        actor = CASE WHEN h.in_actor THEN '' ELSE e.actor END,
        actor_salt = CASE WHEN h.in_actor THEN NULL ELSE e.actor_salt END,
        subject = CASE WHEN h.in_subject THEN '' ELSE e.subject END,
        subject_salt = CASE WHEN h.in_subject THEN NULL ELSE e.subject_salt END,
        detail = CASE WHEN h.in_detail THEN '{}' ELSE e.detail END,
        detail_salt = CASE WHEN h.in_detail THEN NULL ELSE e.detail_salt END
      FROM hits h WHERE e.workspace_id = ws AND e.id = h.id AND (h.in_actor OR h.in_subject OR h.in_detail)
      RETURNING e.id, array_remove(ARRAY[CASE WHEN h.in_actor THEN 'actor' END,
        CASE WHEN h.in_subject THEN 'subject' END, CASE WHEN h.in_detail THEN 'detail' END], NULL) AS fields)
    SELECT jsonb_object_agg(g.id, g.fields), total + coalesce(sum(cardinality(g.fields)), 0) INTO erased, total
    FROM gone g;
    IF erased IS NOT NULL THEN
      INSERT INTO audit_events (workspace_id, action, actor, detail, at)
      VALUES (ws, 'audit.erased', p_actor, jsonb_build_object('erased', erased), p_at);
    END IF;
  END LOOP;
  IF p_workspace IS NOT NULL THEN
    RETURN total;
  END IF;
  WITH hits AS (
    SELECT e.id, lower(e.actor) = lower(p_person) AS in_actor, lower(e.subject) = lower(p_person) AS in_subject,
      e.action NOT IN ('audit.erased', 'audit.pruned')
        AND jsonb_path_exists(e.detail, '$.** ? (@ == $person)', jsonb_build_object('person', p_person)) AS in_detail
    FROM platform_audit_events e),
  gone AS (
    UPDATE platform_audit_events e SET
      actor = CASE WHEN h.in_actor THEN '' ELSE e.actor END,
      actor_salt = CASE WHEN h.in_actor THEN NULL ELSE e.actor_salt END,
      subject = CASE WHEN h.in_subject THEN '' ELSE e.subject END,
      subject_salt = CASE WHEN h.in_subject THEN NULL ELSE e.subject_salt END,
      detail = CASE WHEN h.in_detail THEN '{}' ELSE e.detail END,
      detail_salt = CASE WHEN h.in_detail THEN NULL ELSE e.detail_salt END
    FROM hits h WHERE e.id = h.id AND (h.in_actor OR h.in_subject OR h.in_detail)
    RETURNING e.id, array_remove(ARRAY[CASE WHEN h.in_actor THEN 'actor' END,
      CASE WHEN h.in_subject THEN 'subject' END, CASE WHEN h.in_detail THEN 'detail' END], NULL) AS fields)
  SELECT jsonb_object_agg(g.id, g.fields), total + coalesce(sum(cardinality(g.fields)), 0) INTO erased, total
  FROM gone g;
  IF erased IS NOT NULL THEN
    INSERT INTO platform_audit_events (action, actor, detail, at)
    VALUES ('audit.erased', p_actor, jsonb_build_object('erased', erased), p_at);
  END IF;
  RETURN total;
END $$;

CREATE VIEW admin.audit_events AS
  SELECT e.workspace_id, e.id, e.seq, e.action, e.actor, e.subject, e.detail::text AS detail, e.at, e.actor_salt,
    e.subject_salt, e.detail_salt, e.actor_digest, e.subject_digest, e.detail_digest, e.sealed_at, e.link
  FROM audit_events e;
CREATE VIEW admin.platform_audit_events AS
  SELECT e.id, e.seq, e.action, e.actor, e.subject, e.detail::text AS detail, e.at, e.actor_salt, e.subject_salt,
    e.detail_salt, e.actor_digest, e.subject_digest, e.detail_digest, e.sealed_at, e.link
  FROM platform_audit_events e;
CREATE VIEW admin.audit_checkpoints AS SELECT * FROM audit_checkpoints;
CREATE VIEW admin.platform_audit_checkpoints AS SELECT * FROM platform_audit_checkpoints;
GRANT SELECT ON admin.audit_events, admin.platform_audit_events, admin.audit_checkpoints,
  admin.platform_audit_checkpoints TO @admin@, @cli@;

RESET ROLE;
SET LOCAL ROLE @planner@;
REVOKE ALL ON FUNCTION sched.unsealed_events(integer), sched.chain_head(uuid), sched.seal_events(jsonb),
  sched.heads_to_sign(), sched.add_checkpoints(jsonb), sched.prune_audit(timestamptz, integer, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sched.unsealed_events(integer), sched.chain_head(uuid), sched.seal_events(jsonb),
  sched.heads_to_sign(), sched.add_checkpoints(jsonb), sched.prune_audit(timestamptz, integer, timestamptz)
  TO @scheduler@;
RESET ROLE;
SET LOCAL ROLE @steward@;
REVOKE ALL ON FUNCTION steward.erase_from_audit(uuid, text, text, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION steward.erase_from_audit(uuid, text, text, timestamptz) TO @cli@;
RESET ROLE;
