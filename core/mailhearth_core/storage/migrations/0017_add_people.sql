-- People: who they are (identities), their sessions, who is in which workspace, who was invited, who administers the
-- installation. All of it is before a workspace is known or crosses workspaces, so no login writes these tables: the
-- functions of the family `signin` do. Secrets (session tokens, links, invitations) come as SHA-256 digests only, and
-- every time is the caller's machine time.

CREATE SCHEMA signin AUTHORIZATION @signin@;     -- functions of the web's way in, before a workspace is known

-- A person is known by (issuer, subject). An address names nobody for certain and never joins two identities.
ALTER TABLE users DROP CONSTRAINT users_email_key;
CREATE INDEX users_email ON users (email);

CREATE TABLE identities (
  issuer       text NOT NULL CHECK (issuer <> ''),
  subject      text NOT NULL CHECK (subject <> ''),
  user_id      uuid NOT NULL REFERENCES users,
  email        text NOT NULL CHECK (email = lower(email)),   -- as the issuer said at the last sign-in; may be empty
  email_verified boolean NOT NULL,
  created_at   timestamptz NOT NULL,
  signed_in_at timestamptz NOT NULL,
  id           uuid NOT NULL UNIQUE DEFAULT uuid7(),
  PRIMARY KEY (issuer, subject)
);
CREATE INDEX identities_user ON identities (user_id);

-- Every address a person ever had here, so that all their traces can be found when they go.
CREATE TABLE user_addresses (
  user_id      uuid NOT NULL REFERENCES users,
  address      text NOT NULL CHECK (address <> '' AND address = lower(address)),
  PRIMARY KEY (user_id, address)
);

CREATE TABLE sessions (
  id           uuid PRIMARY KEY DEFAULT uuid7(),
  token_hash   bytea NOT NULL UNIQUE CHECK (octet_length(token_hash) = 32),
  user_id      uuid REFERENCES users,            -- NULL: a visitor who is signing in
  data         jsonb NOT NULL DEFAULT '{}' CHECK (octet_length(data::text) <= 32768),
  ip           text NOT NULL DEFAULT '',
  agent        text NOT NULL DEFAULT '',
  created_at   timestamptz NOT NULL,
  signed_in_at timestamptz,
  seen_at      timestamptz NOT NULL,             -- moved at most once a minute
  expires_at   timestamptz NOT NULL,             -- whatever happens
  CHECK ((user_id IS NULL) = (signed_in_at IS NULL))
);
CREATE INDEX sessions_user ON sessions (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX sessions_expiry ON sessions (expires_at);

-- One-time links of the local sign-in, made by the command line; a used one is gone.
CREATE TABLE sign_in_links (
  token_hash   bytea PRIMARY KEY CHECK (octet_length(token_hash) = 32),
  user_id      uuid NOT NULL REFERENCES users,
  created_at   timestamptz NOT NULL,
  expires_at   timestamptz NOT NULL
);
CREATE INDEX sign_in_links_user ON sign_in_links (user_id);

CREATE TABLE platform_admins (
  user_id      uuid PRIMARY KEY REFERENCES users,
  granted_by   text NOT NULL,
  granted_at   timestamptz NOT NULL
);

-- Open invitations: one that was accepted or withdrawn is gone.
CREATE TABLE invitations (
  workspace_id uuid NOT NULL REFERENCES workspaces,
  id           uuid NOT NULL DEFAULT uuid7(),
  token_hash   bytea NOT NULL CHECK (octet_length(token_hash) = 32),
  email        text NOT NULL CHECK (email <> '' AND email = lower(email)),
  any_address  boolean NOT NULL DEFAULT false,   -- whoever holds it may accept it, whatever their address
  role         text NOT NULL CHECK (role IN ('owner', 'admin', 'member', 'readonly')),
  invited_by   uuid NOT NULL REFERENCES users,
  created_at   timestamptz NOT NULL,
  expires_at   timestamptz NOT NULL,
  PRIMARY KEY (workspace_id, id),
  UNIQUE (workspace_id, email)
);
CREATE INDEX invitations_token ON invitations (token_hash);
CREATE INDEX invitations_expiry ON invitations (expires_at);
CREATE INDEX invitations_inviter ON invitations (invited_by);
CREATE INDEX memberships_user ON memberships (user_id);

ALTER TABLE invitations ENABLE ROW LEVEL SECURITY;
ALTER TABLE invitations FORCE ROW LEVEL SECURITY;
CREATE POLICY families ON invitations TO @signin@, @warden@ USING (true) WITH CHECK (true);
GRANT SELECT, DELETE ON invitations TO @warden@;
CREATE POLICY tenant ON invitations TO @web@, @cli@
  USING (workspace_id = (SELECT tenant_workspace())) WITH CHECK (workspace_id = (SELECT tenant_workspace()));
GRANT SELECT (workspace_id, id, email, any_address, role, invited_by, created_at, expires_at) ON invitations
  TO @web@, @cli@;

DO $$
DECLARE
  t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['workspaces', 'memberships', 'audit_events', 'commands', 'consent_ledger'] LOOP
    EXECUTE format('CREATE POLICY signin ON %I TO @signin@ USING (true) WITH CHECK (true)', t);
  END LOOP;
END $$;

GRANT USAGE ON SCHEMA mailhearth TO @signin@;
GRANT SELECT, INSERT, UPDATE, DELETE ON users, identities, user_addresses, sessions, sign_in_links, platform_admins,
  invitations, memberships TO @signin@;
GRANT SELECT (workspace_id, name, state, managed_by, created_at), INSERT (name, created_at), UPDATE (name)
  ON workspaces TO @signin@;
GRANT INSERT (workspace_id, kind, actor, created_at), SELECT (actor), UPDATE (actor) ON commands TO @signin@;
GRANT SELECT (actor), UPDATE (actor) ON consent_ledger TO @signin@;
GRANT INSERT (workspace_id, id, action, actor, subject, detail, at) ON audit_events TO @signin@;
GRANT INSERT (id, action, actor, subject, detail, at) ON platform_audit_events TO @signin@;
GRANT SELECT ON identities TO @steward@;
GRANT INSERT ON memberships TO @steward@;

SET LOCAL ROLE @steward@;
GRANT USAGE ON SCHEMA steward TO @signin@;
GRANT EXECUTE ON FUNCTION steward.delete_workspace(uuid, text, timestamptz),
  steward.erase_from_audit(uuid, text, text, timestamptz) TO @signin@;

-- As before; besides, a workspace that the command line makes belongs to this machine's own person, if there is one
-- (signin.make_local_link), so that it is on their page.
CREATE OR REPLACE FUNCTION steward.create_workspace(p_name text, p_actor text, p_at timestamptz) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
DECLARE
  ws uuid;
BEGIN
  INSERT INTO workspaces (name, created_at) VALUES (p_name, p_at) RETURNING workspace_id INTO ws;
  INSERT INTO commands (workspace_id, kind, actor, created_at) VALUES (ws, 'workspace.provision', p_actor, p_at);
  INSERT INTO memberships (workspace_id, user_id, role, created_at)
  SELECT ws, i.user_id, 'owner', p_at FROM identities i WHERE i.issuer = 'local' AND i.subject = 'owner';
  INSERT INTO audit_events (workspace_id, action, actor, subject, at)
  VALUES (ws, 'workspace.created', p_actor, p_name, p_at);
  INSERT INTO platform_audit_events (action, actor, subject, at)
  VALUES ('workspace.created', p_actor, ws::text, p_at);
  RETURN ws;
END $$;
RESET ROLE;

SET LOCAL ROLE @signin@;

-- What the audit trail calls a person.
CREATE FUNCTION signin.called(p_user uuid) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT coalesce(nullif(u.email, ''), u.id::text) FROM users u WHERE u.id = p_user
$$;

-- An event of the platform's chain. The detail names the person, so that it is erased with them.
CREATE FUNCTION signin.tell(p_action text, p_actor text, p_user uuid, p_detail jsonb, p_at timestamptz) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  INSERT INTO platform_audit_events (action, actor, subject, detail, at)
  VALUES (p_action, p_actor, coalesce(p_user::text, ''),
    p_detail || CASE WHEN p_user IS NULL THEN '{}' ELSE jsonb_build_object('person', p_user) END, p_at)
$$;

-- An event of a workspace's chain about a person.
CREATE FUNCTION signin.tell_workspace(p_workspace uuid, p_action text, p_actor text, p_user uuid, p_detail jsonb,
  p_at timestamptz) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  INSERT INTO audit_events (workspace_id, action, actor, subject, detail, at)
  VALUES (p_workspace, p_action, p_actor, coalesce(signin.called(p_user), ''),
    p_detail || CASE WHEN p_user IS NULL THEN '{}' ELSE jsonb_build_object('person', p_user) END, p_at)
$$;

-- ---- people -----------------------------------------------------------------------------------------------------

CREATE FUNCTION signin.person(p_user uuid) RETURNS TABLE (id uuid, email text, name text, is_admin boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT u.id, u.email, u.display_name, EXISTS (SELECT 1 FROM platform_admins a WHERE a.user_id = u.id)
  FROM users u WHERE u.id = p_user
$$;

CREATE FUNCTION signin.identities(p_user uuid)
RETURNS TABLE (id uuid, issuer text, subject text, email text, email_verified boolean, created_at timestamptz,
  signed_in_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT i.id, i.issuer, i.subject, i.email, i.email_verified, i.created_at, i.signed_in_at
  FROM identities i WHERE i.user_id = p_user ORDER BY i.created_at, i.issuer, i.subject
$$;

-- The person of an identity, made anew where registration is open or the invitation is one they could accept.
-- Without a row they may not come in.
CREATE FUNCTION signin.sign_in(p_issuer text, p_subject text, p_email text, p_verified boolean, p_name text,
  p_open boolean, p_invitation bytea, p_ip text, p_now timestamptz)
RETURNS TABLE (id uuid, email text, name text, is_admin boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
DECLARE
  address text := lower(p_email);
  person uuid;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended(p_issuer || E'\n' || p_subject, 17));
  SELECT i.user_id INTO person FROM identities i WHERE i.issuer = p_issuer AND i.subject = p_subject;
  IF person IS NULL THEN
    IF NOT p_open AND NOT EXISTS (
        SELECT 1 FROM invitations v WHERE v.token_hash = p_invitation AND v.expires_at > p_now
          AND (v.any_address OR p_verified AND v.email = address)) THEN
      PERFORM signin.tell('person.refused', '', NULL, jsonb_build_object('issuer', p_issuer), p_now);
      RETURN;
    END IF;
    INSERT INTO users (email, display_name, created_at) VALUES (address, p_name, p_now) RETURNING users.id INTO person;
    INSERT INTO identities VALUES (p_issuer, p_subject, person, address, p_verified, p_now, p_now);
    PERFORM signin.tell('person.joined', signin.called(person), person, jsonb_build_object('issuer', p_issuer), p_now);
  ELSE
    UPDATE identities i SET email = address, email_verified = p_verified, signed_in_at = p_now
    WHERE i.issuer = p_issuer AND i.subject = p_subject;
    -- A person is called as the issuer of their first identity calls them.
    UPDATE users u SET email = address, display_name = CASE p_name WHEN '' THEN u.display_name ELSE p_name END
    WHERE u.id = person AND (p_issuer, p_subject) = (
      SELECT i.issuer, i.subject FROM identities i WHERE i.user_id = person
      ORDER BY i.created_at, i.issuer, i.subject LIMIT 1);
  END IF;
  IF address <> '' THEN
    INSERT INTO user_addresses VALUES (person, address) ON CONFLICT DO NOTHING;
  END IF;
  PERFORM signin.tell('person.signed_in', signin.called(person), person,
    jsonb_build_object('issuer', p_issuer, 'ip', p_ip), p_now);
  RETURN QUERY SELECT * FROM signin.person(person);
END $$;

-- A further identity of a person, who has just signed in with both. False: it is another person's.
CREATE FUNCTION signin.link(p_user uuid, p_issuer text, p_subject text, p_email text, p_verified boolean,
  p_now timestamptz) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
DECLARE
  address text := lower(p_email);
  person uuid;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended(p_issuer || E'\n' || p_subject, 17));
  SELECT i.user_id INTO person FROM identities i WHERE i.issuer = p_issuer AND i.subject = p_subject;
  IF FOUND THEN
    RETURN person = p_user;
  END IF;
  INSERT INTO identities VALUES (p_issuer, p_subject, p_user, address, p_verified, p_now, p_now);
  IF address <> '' THEN
    INSERT INTO user_addresses VALUES (p_user, address) ON CONFLICT DO NOTHING;
  END IF;
  PERFORM signin.tell('person.linked', signin.called(p_user), p_user, jsonb_build_object('issuer', p_issuer), p_now);
  RETURN true;
END $$;

-- A sign-in that was refused; nobody is named, because nobody is known.
CREATE FUNCTION signin.sign_in_failed(p_issuer text, p_reason text, p_ip text, p_now timestamptz) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT signin.tell('person.sign_in_failed', '', NULL,
    jsonb_build_object('issuer', left(p_issuer, 200), 'reason', left(p_reason, 200), 'ip', left(p_ip, 64)), p_now)
$$;

-- Takes an identity from a person who has another. False: it is not theirs, or their last.
CREATE FUNCTION signin.unlink(p_user uuid, p_identity uuid, p_now timestamptz) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
DECLARE
  was text;
BEGIN
  PERFORM 1 FROM users u WHERE u.id = p_user FOR UPDATE;
  IF (SELECT count(*) FROM identities i WHERE i.user_id = p_user) < 2 THEN
    RETURN false;
  END IF;
  DELETE FROM identities i WHERE i.user_id = p_user AND i.id = p_identity RETURNING i.issuer INTO was;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  PERFORM signin.tell('person.unlinked', signin.called(p_user), p_user, jsonb_build_object('issuer', was), p_now);
  RETURN true;
END $$;

-- Removes a person and every mention of them; in ledgers and wishes `deleted account` stands for them. Returns the
-- names of the workspaces that would be left without an owner; empty: it is done; NULL: there is no such person.
CREATE FUNCTION signin.delete_account(p_user uuid, p_now timestamptz) RETURNS text[]
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
DECLARE
  names text[];
  mentions text[];
  mention text;
  kept text;
  ws uuid;
BEGIN
  PERFORM 1 FROM users u WHERE u.id = p_user FOR UPDATE;
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  PERFORM 1 FROM memberships m
  WHERE m.workspace_id IN (SELECT o.workspace_id FROM memberships o WHERE o.user_id = p_user)
  ORDER BY m.workspace_id, m.id FOR UPDATE;
  SELECT coalesce(array_agg(w.name ORDER BY w.name), '{}') INTO names
  FROM memberships m JOIN workspaces w ON w.workspace_id = m.workspace_id AND w.state <> 'deleting'
  WHERE m.user_id = p_user AND m.role = 'owner' AND NOT EXISTS (
    SELECT 1 FROM memberships o WHERE o.workspace_id = m.workspace_id AND o.role = 'owner' AND o.user_id <> p_user);
  IF names <> '{}' THEN
    RETURN names;
  END IF;
  SELECT array_agg(a.address) || p_user::text INTO mentions FROM user_addresses a WHERE a.user_id = p_user;
  mentions := coalesce(mentions, ARRAY[p_user::text]);
  FOR ws IN DELETE FROM memberships m WHERE m.user_id = p_user RETURNING m.workspace_id LOOP
    PERFORM signin.tell_workspace(ws, 'member.left', 'deleted account', NULL, '{}', p_now);
  END LOOP;
  DELETE FROM sessions s WHERE s.user_id = p_user;
  DELETE FROM sign_in_links l WHERE l.user_id = p_user;
  DELETE FROM platform_admins a WHERE a.user_id = p_user;
  DELETE FROM invitations v WHERE v.invited_by = p_user OR v.email = ANY (mentions);
  DELETE FROM identities i WHERE i.user_id = p_user;
  DELETE FROM user_addresses a WHERE a.user_id = p_user;
  DELETE FROM users u WHERE u.id = p_user;
  -- Whatever keeps who did it; the audit trail is the steward's.
  FOR kept IN SELECT c.oid::regclass::text FROM pg_class c
      JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'actor' AND NOT a.attisdropped
      WHERE c.relnamespace = 'mailhearth'::regnamespace AND c.relkind IN ('r', 'p')
        AND has_column_privilege(c.oid, a.attnum, 'UPDATE') ORDER BY 1 LOOP
    EXECUTE format('UPDATE %s SET actor = $1 WHERE actor = ANY ($2)', kept) USING 'deleted account', mentions;
  END LOOP;
  FOREACH mention IN ARRAY mentions LOOP
    PERFORM steward.erase_from_audit(NULL, mention, 'deleted account', p_now);
  END LOOP;
  PERFORM signin.tell('person.deleted', 'deleted account', NULL, '{}', p_now);
  RETURN '{}';
END $$;

-- ---- sessions ---------------------------------------------------------------------------------------------------

CREATE FUNCTION signin.create_session(p_hash bytea, p_user uuid, p_data jsonb, p_ip text, p_agent text,
  p_now timestamptz, p_expires timestamptz) RETURNS uuid
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  INSERT INTO sessions (token_hash, user_id, data, ip, agent, created_at, signed_in_at, seen_at, expires_at)
  VALUES (p_hash, p_user, p_data, left(p_ip, 64), left(p_agent, 400), p_now,
    CASE WHEN p_user IS NOT NULL THEN p_now END, p_now, p_expires)
  RETURNING id
$$;

CREATE FUNCTION signin.find_session(p_hash bytea, p_now timestamptz, p_idle interval)
RETURNS TABLE (id uuid, data jsonb, created_at timestamptz, signed_in_at timestamptz, seen_at timestamptz,
  expires_at timestamptz, user_id uuid, email text, name text, is_admin boolean)
LANGUAGE plpgsql VOLATILE ROWS 1 SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT s.id, s.data, s.created_at, s.signed_in_at, s.seen_at, s.expires_at, u.id, u.email, u.display_name,
    a.user_id IS NOT NULL
  FROM sessions s LEFT JOIN users u ON u.id = s.user_id LEFT JOIN platform_admins a ON a.user_id = s.user_id
  WHERE s.token_hash = p_hash AND s.expires_at > p_now AND s.seen_at > p_now - p_idle;
  IF FOUND THEN
    UPDATE sessions s SET seen_at = p_now WHERE s.token_hash = p_hash AND s.seen_at <= p_now - interval '1 minute';
  END IF;
END $$;

CREATE FUNCTION signin.save_session(p_id uuid, p_data jsonb) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  WITH saved AS (UPDATE sessions SET data = p_data WHERE id = p_id RETURNING 1)
  SELECT EXISTS (SELECT 1 FROM saved)
$$;

CREATE FUNCTION signin.sessions(p_user uuid, p_now timestamptz, p_idle interval)
RETURNS TABLE (id uuid, created_at timestamptz, signed_in_at timestamptz, seen_at timestamptz, expires_at timestamptz,
  ip text, agent text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT s.id, s.created_at, s.signed_in_at, s.seen_at, s.expires_at, s.ip, s.agent FROM sessions s
  WHERE s.user_id = p_user AND s.expires_at > p_now AND s.seen_at > p_now - p_idle
  ORDER BY s.seen_at DESC, s.id
$$;

-- Ends sessions: the one of an id, of a person only where one is given; without an id all of the person but p_but.
CREATE FUNCTION signin.end_sessions(p_id uuid, p_user uuid, p_but uuid, p_now timestamptz) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
DECLARE
  gone record;
  n integer := 0;
BEGIN
  FOR gone IN
    DELETE FROM sessions s
    WHERE CASE WHEN p_id IS NOT NULL THEN s.id = p_id AND (p_user IS NULL OR s.user_id = p_user)
          ELSE s.user_id = p_user AND s.id IS DISTINCT FROM p_but END
    RETURNING s.user_id
  LOOP
    n := n + 1;
    IF gone.user_id IS NOT NULL THEN
      PERFORM signin.tell('person.session_ended', signin.called(gone.user_id), gone.user_id, '{}', p_now);
    END IF;
  END LOOP;
  RETURN n;
END $$;

-- ---- the local sign-in of one machine ---------------------------------------------------------------------------

-- A one-time link for a person; NULL is this machine's own person, who is made here, administers the installation
-- and owns the workspaces that nobody owns. NULL comes back for an unknown person.
CREATE FUNCTION signin.make_local_link(p_user uuid, p_hash bytea, p_actor text, p_now timestamptz,
  p_expires timestamptz) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
DECLARE
  person uuid := p_user;
  ws uuid;
BEGIN
  IF person IS NULL THEN
    PERFORM pg_advisory_xact_lock(hashtextextended(E'local\nowner', 17));
    SELECT i.user_id INTO person FROM identities i WHERE i.issuer = 'local' AND i.subject = 'owner';
    IF person IS NULL THEN
      INSERT INTO users (email, display_name, created_at) VALUES ('owner@localhost', 'Owner', p_now)
      RETURNING users.id INTO person;
      INSERT INTO identities VALUES ('local', 'owner', person, 'owner@localhost', false, p_now, p_now);
      INSERT INTO user_addresses VALUES (person, 'owner@localhost');
      INSERT INTO platform_admins VALUES (person, p_actor, p_now);
      PERFORM signin.tell('person.joined', p_actor, person, '{"issuer": "local"}', p_now);
      PERFORM signin.tell('admin.granted', p_actor, person, '{}', p_now);
    END IF;
    FOR ws IN SELECT w.workspace_id FROM workspaces w WHERE w.state <> 'deleting' AND NOT EXISTS (
        SELECT 1 FROM memberships m WHERE m.workspace_id = w.workspace_id AND m.role = 'owner') LOOP
      INSERT INTO memberships (workspace_id, user_id, role, created_at) VALUES (ws, person, 'owner', p_now)
      ON CONFLICT (workspace_id, user_id) DO UPDATE SET role = 'owner';
      PERFORM signin.tell_workspace(ws, 'member.added', p_actor, person, '{"role": "owner"}', p_now);
    END LOOP;
  ELSIF NOT EXISTS (SELECT 1 FROM users u WHERE u.id = person) THEN
    RETURN NULL;
  END IF;
  INSERT INTO sign_in_links VALUES (p_hash, person, p_now, p_expires);
  PERFORM signin.tell('person.link_made', p_actor, person, '{}', p_now);
  RETURN person;
END $$;

CREATE FUNCTION signin.use_local_link(p_hash bytea, p_ip text, p_now timestamptz)
RETURNS TABLE (id uuid, email text, name text, is_admin boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
DECLARE
  person uuid;
BEGIN
  DELETE FROM sign_in_links l WHERE l.token_hash = p_hash AND l.expires_at > p_now RETURNING l.user_id INTO person;
  IF person IS NULL THEN
    RETURN;
  END IF;
  PERFORM signin.tell('person.signed_in', signin.called(person), person,
    jsonb_build_object('issuer', 'local', 'ip', p_ip), p_now);
  RETURN QUERY SELECT * FROM signin.person(person);
END $$;

-- ---- workspaces and their members -------------------------------------------------------------------------------

-- The workspaces of a person; of one workspace only where p_workspace is given.
CREATE FUNCTION signin.places(p_user uuid, p_workspace uuid)
RETURNS TABLE (workspace_id uuid, name text, state text, role text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT w.workspace_id, w.name, w.state, m.role
  FROM memberships m JOIN workspaces w ON w.workspace_id = m.workspace_id
  WHERE m.user_id = p_user AND (p_workspace IS NULL OR m.workspace_id = p_workspace)
  ORDER BY w.name, w.workspace_id
$$;

CREATE FUNCTION signin.members(p_workspace uuid)
RETURNS TABLE (user_id uuid, email text, name text, role text, since timestamptz, signed_in_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT m.user_id, u.email, u.display_name, m.role, m.created_at,
    (SELECT max(i.signed_in_at) FROM identities i WHERE i.user_id = m.user_id)
  FROM memberships m JOIN users u ON u.id = m.user_id
  WHERE m.workspace_id = p_workspace
  ORDER BY array_position('{owner,admin,member,readonly}'::text[], m.role), u.email, m.id
$$;

-- Everybody in a workspace as they are now, held so until the transaction ends: what is decided by it stays true.
CREATE FUNCTION signin.hold_members(p_workspace uuid) RETURNS TABLE (user_id uuid, role text)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT m.user_id, m.role FROM memberships m WHERE m.workspace_id = p_workspace ORDER BY m.id FOR UPDATE
$$;

-- Gives a member another role; NULL takes them out. Invitations that they could not make any more are withdrawn.
-- False: they are no member, or the workspace would be left without an owner.
CREATE FUNCTION signin.set_member(p_workspace uuid, p_user uuid, p_role text, p_actor text, p_now timestamptz)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
DECLARE
  was text;
BEGIN
  PERFORM 1 FROM signin.hold_members(p_workspace);
  SELECT m.role INTO was FROM memberships m WHERE m.workspace_id = p_workspace AND m.user_id = p_user;
  IF was IS NULL OR was = 'owner' AND p_role IS DISTINCT FROM 'owner' AND NOT EXISTS (
      SELECT 1 FROM memberships m
      WHERE m.workspace_id = p_workspace AND m.role = 'owner' AND m.user_id <> p_user) THEN
    RETURN false;
  END IF;
  IF p_role IS NULL THEN
    DELETE FROM memberships m WHERE m.workspace_id = p_workspace AND m.user_id = p_user;
    PERFORM signin.tell_workspace(p_workspace, 'member.removed', p_actor, p_user, jsonb_build_object('was', was), p_now);
  ELSE
    UPDATE memberships m SET role = p_role WHERE m.workspace_id = p_workspace AND m.user_id = p_user;
    PERFORM signin.tell_workspace(p_workspace, 'member.role_changed', p_actor, p_user,
      jsonb_build_object('was', was, 'role', p_role), p_now);
  END IF;
  DELETE FROM invitations v WHERE v.workspace_id = p_workspace AND v.invited_by = p_user
    AND p_role IS DISTINCT FROM 'owner' AND (p_role IS DISTINCT FROM 'admin' OR v.role = 'owner');
  RETURN true;
END $$;

-- A workspace that a person makes for themselves; its keys and its workers' login are the provisioner's.
CREATE FUNCTION signin.create_workspace(p_user uuid, p_name text, p_actor text, p_now timestamptz) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
DECLARE
  ws uuid;
BEGIN
  INSERT INTO workspaces (name, created_at) VALUES (p_name, p_now) RETURNING workspace_id INTO ws;
  INSERT INTO memberships (workspace_id, user_id, role, created_at) VALUES (ws, p_user, 'owner', p_now);
  INSERT INTO commands (workspace_id, kind, actor, created_at) VALUES (ws, 'workspace.provision', p_actor, p_now);
  PERFORM signin.tell_workspace(ws, 'workspace.created', p_actor, p_user, jsonb_build_object('name', p_name), p_now);
  INSERT INTO platform_audit_events (action, actor, subject, at)
  VALUES ('workspace.created', p_actor, ws::text, p_now);
  RETURN ws;
END $$;

-- False: there is no such workspace, it is being deleted, or its name is a custom resource's.
CREATE FUNCTION signin.rename_workspace(p_workspace uuid, p_name text, p_actor text, p_now timestamptz) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
DECLARE
  was text;
BEGIN
  SELECT w.name INTO was FROM workspaces w
  WHERE w.workspace_id = p_workspace AND w.state <> 'deleting' AND w.managed_by = 'local' FOR UPDATE;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  UPDATE workspaces w SET name = p_name WHERE w.workspace_id = p_workspace;
  INSERT INTO audit_events (workspace_id, action, actor, subject, detail, at)
  VALUES (p_workspace, 'workspace.renamed', p_actor, p_name, jsonb_build_object('was', was), p_now);
  RETURN true;
END $$;

CREATE FUNCTION signin.delete_workspace(p_workspace uuid, p_actor text, p_now timestamptz) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT steward.delete_workspace(p_workspace, p_actor, p_now)
$$;

-- ---- invitations ------------------------------------------------------------------------------------------------

-- Invites an address, instead of an earlier invitation of it. NULL: it has too many open ones, or is no workspace
-- that people may join.
CREATE FUNCTION signin.invite(p_workspace uuid, p_by uuid, p_email text, p_role text, p_any boolean, p_hash bytea,
  p_most integer, p_now timestamptz, p_expires timestamptz) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
DECLARE
  made uuid;
BEGIN
  IF NOT EXISTS (SELECT 1 FROM workspaces w WHERE w.workspace_id = p_workspace AND w.state <> 'deleting') OR p_most <= (
      SELECT count(*) FROM invitations v WHERE v.workspace_id = p_workspace AND v.email <> lower(p_email)) THEN
    RETURN NULL;
  END IF;
  INSERT INTO invitations (workspace_id, token_hash, email, any_address, role, invited_by, created_at, expires_at)
  VALUES (p_workspace, p_hash, lower(p_email), p_any, p_role, p_by, p_now, p_expires)
  ON CONFLICT (workspace_id, email) DO UPDATE SET id = excluded.id, token_hash = excluded.token_hash,
    any_address = excluded.any_address, role = excluded.role, invited_by = excluded.invited_by,
    created_at = excluded.created_at, expires_at = excluded.expires_at
  RETURNING id INTO made;
  INSERT INTO audit_events (workspace_id, action, actor, subject, detail, at)
  VALUES (p_workspace, 'invitation.made', signin.called(p_by), lower(p_email),
    jsonb_build_object('role', p_role, 'any_address', p_any), p_now);
  RETURN made;
END $$;

CREATE FUNCTION signin.invitations(p_workspace uuid)
RETURNS TABLE (id uuid, email text, any_address boolean, role text, invited_by text, created_at timestamptz,
  expires_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT v.id, v.email, v.any_address, v.role, signin.called(v.invited_by), v.created_at, v.expires_at
  FROM invitations v WHERE v.workspace_id = p_workspace ORDER BY v.created_at DESC, v.id
$$;

CREATE FUNCTION signin.withdraw_invitation(p_workspace uuid, p_id uuid, p_actor text, p_now timestamptz) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  WITH gone AS (
    DELETE FROM invitations v WHERE v.workspace_id = p_workspace AND v.id = p_id RETURNING v.email),
  told AS (
    INSERT INTO audit_events (workspace_id, action, actor, subject, at)
    SELECT p_workspace, 'invitation.withdrawn', p_actor, g.email, p_now FROM gone g)
  SELECT EXISTS (SELECT 1 FROM gone)
$$;

-- What an invitation says to whoever holds it, while it holds.
CREATE FUNCTION signin.look_at_invitation(p_hash bytea, p_now timestamptz)
RETURNS TABLE (workspace_id uuid, workspace text, email text, any_address boolean, role text, invited_by text,
  expires_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT w.workspace_id, w.name, v.email, v.any_address, v.role, signin.called(v.invited_by), v.expires_at
  FROM invitations v JOIN workspaces w ON w.workspace_id = v.workspace_id AND w.state <> 'deleting'
  WHERE v.token_hash = p_hash AND v.expires_at > p_now
$$;

-- Makes a person a member. `gone`: used, withdrawn or expired; `address`: it is for a verified address that none of
-- their identities has; `member`: they are one already, and the invitation stays.
CREATE FUNCTION signin.accept_invitation(p_hash bytea, p_user uuid, p_now timestamptz)
RETURNS TABLE (outcome text, workspace_id uuid)
LANGUAGE plpgsql VOLATILE ROWS 1 SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
#variable_conflict use_column
DECLARE
  v record;
BEGIN
  -- Locked in the order of all who lock: people, members, invitations.
  PERFORM 1 FROM users u WHERE u.id = p_user FOR KEY SHARE;
  IF NOT FOUND THEN
    RETURN QUERY SELECT 'gone', NULL::uuid;
    RETURN;
  END IF;
  PERFORM 1 FROM invitations i CROSS JOIN LATERAL signin.hold_members(i.workspace_id) WHERE i.token_hash = p_hash;
  SELECT i.workspace_id, i.id, i.email, i.any_address, i.role, i.invited_by INTO v
  FROM invitations i JOIN workspaces w ON w.workspace_id = i.workspace_id AND w.state <> 'deleting'
  WHERE i.token_hash = p_hash AND i.expires_at > p_now FOR UPDATE OF i;
  IF NOT FOUND THEN
    RETURN QUERY SELECT 'gone', NULL::uuid;
  ELSIF NOT v.any_address AND NOT EXISTS (
      SELECT 1 FROM identities i WHERE i.user_id = p_user AND i.email_verified AND i.email = v.email) THEN
    RETURN QUERY SELECT 'address', NULL::uuid;
  ELSE
    INSERT INTO memberships (workspace_id, user_id, role, created_at) VALUES (v.workspace_id, p_user, v.role, p_now)
    ON CONFLICT (workspace_id, user_id) DO NOTHING;
    IF NOT FOUND THEN
      RETURN QUERY SELECT 'member', v.workspace_id;
      RETURN;
    END IF;
    DELETE FROM invitations i WHERE i.workspace_id = v.workspace_id AND i.id = v.id;
    PERFORM signin.tell_workspace(v.workspace_id, 'invitation.accepted', signin.called(p_user), p_user,
      jsonb_build_object('role', v.role, 'invited_by', signin.called(v.invited_by)), p_now);
    RETURN QUERY SELECT 'ok', v.workspace_id;
  END IF;
END $$;

-- ---- the command line -------------------------------------------------------------------------------------------

-- Whom a word may mean: an id or an address that one of their identities has; or an issuer and a subject.
CREATE FUNCTION signin.find_people(p_word text, p_issuer text, p_subject text)
RETURNS TABLE (id uuid, email text, name text, is_admin boolean, issuer text, subject text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT u.id, u.email, u.display_name, EXISTS (SELECT 1 FROM platform_admins a WHERE a.user_id = u.id),
    i.issuer, i.subject
  FROM users u LEFT JOIN LATERAL (
    SELECT x.issuer, x.subject FROM identities x WHERE x.user_id = u.id ORDER BY x.created_at, x.issuer LIMIT 1) i ON true
  WHERE CASE WHEN p_issuer IS NULL THEN u.id::text = lower(p_word) OR u.email = lower(p_word)
          OR EXISTS (SELECT 1 FROM identities x WHERE x.user_id = u.id AND x.email = lower(p_word))
        ELSE EXISTS (SELECT 1 FROM identities x WHERE x.user_id = u.id AND x.issuer = p_issuer
                     AND x.subject = p_subject) END
  ORDER BY u.created_at, u.id
$$;

CREATE FUNCTION signin.admins()
RETURNS TABLE (id uuid, email text, name text, granted_by text, granted_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT u.id, u.email, u.display_name, a.granted_by, a.granted_at
  FROM platform_admins a JOIN users u ON u.id = a.user_id ORDER BY a.granted_at, u.id
$$;

-- False: nothing changed.
CREATE FUNCTION signin.grant_admin(p_user uuid, p_actor text, p_now timestamptz) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
BEGIN
  INSERT INTO platform_admins VALUES (p_user, p_actor, p_now) ON CONFLICT DO NOTHING;
  IF FOUND THEN
    PERFORM signin.tell('admin.granted', p_actor, p_user, '{}', p_now);
    RETURN true;
  END IF;
  RETURN false;
END $$;

CREATE FUNCTION signin.revoke_admin(p_user uuid, p_actor text, p_now timestamptz) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
BEGIN
  DELETE FROM platform_admins a WHERE a.user_id = p_user;
  IF FOUND THEN
    PERFORM signin.tell('admin.revoked', p_actor, p_user, '{}', p_now);
    RETURN true;
  END IF;
  RETURN false;
END $$;

-- Puts a person into a workspace, or gives them that role there, as whoever runs the installation may.
-- False: the workspace would be left without an owner.
CREATE FUNCTION signin.put_member(p_workspace uuid, p_user uuid, p_role text, p_actor text, p_now timestamptz)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
BEGIN
  INSERT INTO memberships (workspace_id, user_id, role, created_at) VALUES (p_workspace, p_user, p_role, p_now)
  ON CONFLICT (workspace_id, user_id) DO NOTHING;
  IF FOUND THEN
    PERFORM signin.tell_workspace(p_workspace, 'member.added', p_actor, p_user, jsonb_build_object('role', p_role), p_now);
    RETURN true;
  END IF;
  RETURN signin.set_member(p_workspace, p_user, p_role, p_actor, p_now);
END $$;

-- ---- retention --------------------------------------------------------------------------------------------------

-- Each removes at most p_batch rows that ended before p_before.
CREATE FUNCTION signin.sweep_sessions(p_before timestamptz, p_batch integer) RETURNS integer
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  WITH gone AS (
    DELETE FROM sessions WHERE id = ANY (ARRAY(
      SELECT s.id FROM sessions s WHERE s.expires_at < p_before ORDER BY s.expires_at LIMIT p_batch
      FOR UPDATE SKIP LOCKED)) RETURNING 1)
  SELECT count(*)::integer FROM gone
$$;

CREATE FUNCTION signin.sweep_links(p_before timestamptz, p_batch integer) RETURNS integer
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  WITH gone AS (
    DELETE FROM sign_in_links WHERE token_hash = ANY (ARRAY(
      SELECT l.token_hash FROM sign_in_links l WHERE l.expires_at < p_before LIMIT p_batch
      FOR UPDATE SKIP LOCKED)) RETURNING 1)
  SELECT count(*)::integer FROM gone
$$;

CREATE FUNCTION signin.sweep_invitations(p_before timestamptz, p_batch integer) RETURNS integer
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  WITH gone AS (
    DELETE FROM invitations WHERE ctid = ANY (ARRAY(
      SELECT v.ctid FROM invitations v WHERE v.expires_at < p_before ORDER BY v.expires_at LIMIT p_batch
      FOR UPDATE SKIP LOCKED)) RETURNING 1)
  SELECT count(*)::integer FROM gone
$$;

GRANT USAGE ON SCHEMA signin TO @web@, @cli@, @scheduler@;
DO $$
DECLARE
  f record;
BEGIN
  FOR f IN SELECT p.oid::regprocedure AS sig, p.proname AS name FROM pg_proc p
           JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'signin' LOOP
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f.sig);
    IF f.name LIKE 'sweep\_%' THEN
      EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO @scheduler@', f.sig);
    ELSIF f.name IN ('find_people', 'admins', 'grant_admin', 'revoke_admin', 'put_member', 'make_local_link') THEN
      EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO @cli@', f.sig);
    ELSIF f.name NOT IN ('called', 'tell', 'tell_workspace') THEN
      EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO @web@', f.sig);
    END IF;
  END LOOP;
END $$;
RESET ROLE;

-- The web's readiness: whether the schema is of its version.
GRANT SELECT (name) ON schema_checksums TO @web@;
