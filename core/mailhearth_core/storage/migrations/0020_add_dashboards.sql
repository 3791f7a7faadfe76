-- What the dashboard shows: sums of a workspace's days, reports on its domains' DNS, and word of every change.

-- Sums over a workspace's mailboxes by their local date, so that a page need not add up ten thousand rows.
CREATE TABLE workspace_days (
  workspace_id uuid NOT NULL REFERENCES workspaces ON DELETE CASCADE,
  day          date NOT NULL,
  volume       integer NOT NULL,                 -- of the days as they were sized
  planned      integer NOT NULL,
  sent         integer NOT NULL,
  replied      integer NOT NULL,
  bounced      integer NOT NULL,
  rescued      integer NOT NULL,                 -- out of Junk, in the workspace's own mailboxes
  inbox        integer NOT NULL,
  junk         integer NOT NULL,
  other        integer NOT NULL,
  missing      integer NOT NULL,
  unobservable integer NOT NULL,
  computed_at  timestamptz NOT NULL,             -- business time of the last change
  PRIMARY KEY (workspace_id, day)
);

-- The same placements by the provider that placed them.
CREATE TABLE provider_days (
  workspace_id uuid NOT NULL REFERENCES workspaces ON DELETE CASCADE,
  day          date NOT NULL,
  provider     text NOT NULL,
  inbox        integer NOT NULL,
  junk         integer NOT NULL,
  other        integer NOT NULL,
  missing      integer NOT NULL,
  unobservable integer NOT NULL,
  PRIMARY KEY (workspace_id, day, provider)
);

-- A domain's DNS as its workspace's worker saw it: mail.dnsreport.Report as JSON.
CREATE TABLE dns_reports (
  workspace_id uuid NOT NULL REFERENCES workspaces ON DELETE CASCADE,
  domain       text NOT NULL,
  selectors    text[] NOT NULL DEFAULT '{}' CHECK (cardinality(selectors) <= 10),  -- of DKIM, named by a person
  report       jsonb,
  checked_at   timestamptz,                      -- machine time
  next_check_at timestamptz NOT NULL,            -- business time
  PRIMARY KEY (workspace_id, domain)
);

DO $$
DECLARE
  t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['workspace_days', 'provider_days', 'dns_reports'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY tenant ON %I TO @web@, @cli@ '
      'USING (workspace_id = (SELECT tenant_workspace())) '
      'WITH CHECK (workspace_id = (SELECT tenant_workspace()))', t);
    EXECUTE format('CREATE POLICY worker ON %I TO @worker@ '
      'USING (workspace_id = (SELECT worker_workspace())) '
      'WITH CHECK (workspace_id = (SELECT worker_workspace()))', t);
    EXECUTE format('CREATE POLICY families ON %I TO @planner@, @carrier@, @steward@, @warden@ '
      'USING (true) WITH CHECK (true)', t);
  END LOOP;
END $$;

GRANT SELECT ON workspace_days, provider_days, dns_reports TO @web@, @cli@, @steward@;
GRANT INSERT, UPDATE (selectors, next_check_at) ON dns_reports TO @web@, @cli@;
GRANT SELECT, UPDATE (report, checked_at) ON dns_reports TO @worker@;
GRANT SELECT, INSERT, UPDATE ON workspace_days, provider_days TO @planner@;
GRANT SELECT, INSERT, UPDATE, DELETE ON dns_reports TO @planner@;
GRANT SELECT, DELETE ON workspace_days, provider_days, dns_reports TO @warden@;
GRANT SELECT ON memberships TO @planner@;

CREATE INDEX day_sizes_by_day ON day_sizes (day) INCLUDE (workspace_id, volume);
CREATE INDEX inbound_rescued ON inbound (rescued_at) WHERE rescued_at IS NOT NULL;
-- What happened to a mailbox, the newest first.
CREATE INDEX consent_ledger_mailbox ON consent_ledger (workspace_id, mailbox_id, at);
CREATE INDEX audit_events_subject ON audit_events (workspace_id, subject, at);
CREATE INDEX mailboxes_pool ON mailboxes (workspace_id, pool_id) WHERE state <> 'removed';
CREATE INDEX mailboxes_domain ON mailboxes (workspace_id, domain) WHERE state <> 'removed';

ALTER TABLE action DROP CONSTRAINT action_kind_check;
ALTER TABLE action ADD CONSTRAINT action_kind_check CHECK (kind IN ('send', 'poll', 'rescue', 'read', 'flag', 'file',
  'expunge', 'evidence', 'expunge_sent', 'check_domain', 'check_dns', 'census', 'purge'));
CREATE UNIQUE INDEX action_one_dns ON action (workspace_id, mailbox_id)
  WHERE kind = 'check_dns' AND state IN ('pending', 'leased');

SET LOCAL ROLE @planner@;

-- As before, from one look at the mail of the open cohorts, with the workspaces' sums; and what is the same as it was
-- is not written again. Returns how many mailbox days are open.
CREATE OR REPLACE FUNCTION sched.recompute_rollups(p_now timestamptz) RETURNS integer
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  WITH horizon AS (SELECT (p_now AT TIME ZONE 'UTC')::date - 8 AS first),
  counted AS MATERIALIZED (
    SELECT o.workspace_id, o.mailbox_id, o.day, coalesce(o.placement_provider, '') AS provider,
      count(*) FILTER (WHERE o.state <> 'cancelled') AS planned,
      count(*) FILTER (WHERE o.state = 'sent') AS sent,
      count(*) FILTER (WHERE o.state = 'sent' AND o.placement IN ('inbox', 'tab')) AS inbox,
      count(*) FILTER (WHERE o.state = 'sent' AND o.placement = 'junk') AS junk,
      count(*) FILTER (WHERE o.state = 'sent' AND o.placement = 'other') AS other,
      count(*) FILTER (WHERE o.state = 'sent' AND o.placement = 'missing') AS missing,
      count(*) FILTER (WHERE o.state = 'sent' AND o.placement = 'unobservable') AS unobservable,
      count(*) FILTER (WHERE o.state = 'bounced') AS bounced,
      count(*) FILTER (WHERE o.state = 'sent' AND o.kind = 'reply') AS replied
    FROM outbound o WHERE o.day >= (SELECT first FROM horizon) GROUP BY 1, 2, 3, 4),
  boxes AS MATERIALIZED (
    SELECT c.workspace_id, c.mailbox_id, c.day, sum(c.planned)::integer AS planned, sum(c.sent)::integer AS sent,
      sum(c.inbox)::integer AS inbox, sum(c.junk)::integer AS junk, sum(c.other)::integer AS other,
      sum(c.missing)::integer AS missing, sum(c.unobservable)::integer AS unobservable,
      sum(c.bounced)::integer AS bounced, sum(c.replied)::integer AS replied
    FROM counted c GROUP BY 1, 2, 3),
  fresh AS (
    INSERT INTO rollups AS r (workspace_id, mailbox_id, day, planned, sent, inbox, junk, other, missing, unobservable,
      bounced, replied, computed_at)
    SELECT b.workspace_id, b.mailbox_id, b.day, b.planned, b.sent, b.inbox, b.junk, b.other, b.missing,
      b.unobservable, b.bounced, b.replied, p_now FROM boxes b
    ON CONFLICT (workspace_id, mailbox_id, day) DO UPDATE SET planned = excluded.planned, sent = excluded.sent,
      inbox = excluded.inbox, junk = excluded.junk, other = excluded.other, missing = excluded.missing,
      unobservable = excluded.unobservable, bounced = excluded.bounced, replied = excluded.replied,
      computed_at = excluded.computed_at
    WHERE (r.planned, r.sent, r.inbox, r.junk, r.other, r.missing, r.unobservable, r.bounced, r.replied)
      IS DISTINCT FROM (excluded.planned, excluded.sent, excluded.inbox, excluded.junk, excluded.other,
        excluded.missing, excluded.unobservable, excluded.bounced, excluded.replied)),
  providers AS (
    INSERT INTO provider_days AS r (workspace_id, day, provider, inbox, junk, other, missing, unobservable)
    SELECT c.workspace_id, c.day, c.provider, sum(c.inbox), sum(c.junk), sum(c.other), sum(c.missing),
      sum(c.unobservable)
    FROM counted c WHERE c.provider <> '' GROUP BY 1, 2, 3
    ON CONFLICT (workspace_id, day, provider) DO UPDATE SET inbox = excluded.inbox, junk = excluded.junk,
      other = excluded.other, missing = excluded.missing, unobservable = excluded.unobservable
    WHERE (r.inbox, r.junk, r.other, r.missing, r.unobservable)
      IS DISTINCT FROM (excluded.inbox, excluded.junk, excluded.other, excluded.missing, excluded.unobservable)),
  sums AS (
    SELECT b.workspace_id, b.day, 0 AS volume, b.planned, b.sent, b.replied, b.bounced, 0 AS rescued, b.inbox, b.junk,
      b.other, b.missing, b.unobservable FROM boxes b
    UNION ALL
    SELECT s.workspace_id, s.day, s.volume, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
    FROM day_sizes s WHERE s.day >= (SELECT first FROM horizon)
    UNION ALL
    SELECT i.workspace_id, (i.rescued_at AT TIME ZONE m.timezone)::date, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0
    FROM inbound i JOIN mailboxes m ON m.workspace_id = i.workspace_id AND m.id = i.mailbox_id
    WHERE i.rescued_at >= p_now - interval '10 days'
      AND (i.rescued_at AT TIME ZONE m.timezone)::date >= (SELECT first FROM horizon)),
  days AS (
    INSERT INTO workspace_days AS r (workspace_id, day, volume, planned, sent, replied, bounced, rescued, inbox, junk,
      other, missing, unobservable, computed_at)
    SELECT s.workspace_id, s.day, sum(s.volume), sum(s.planned), sum(s.sent), sum(s.replied), sum(s.bounced),
      sum(s.rescued), sum(s.inbox), sum(s.junk), sum(s.other), sum(s.missing), sum(s.unobservable), p_now
    FROM sums s GROUP BY 1, 2
    ON CONFLICT (workspace_id, day) DO UPDATE SET volume = excluded.volume, planned = excluded.planned,
      sent = excluded.sent, replied = excluded.replied, bounced = excluded.bounced, rescued = excluded.rescued,
      inbox = excluded.inbox, junk = excluded.junk, other = excluded.other, missing = excluded.missing,
      unobservable = excluded.unobservable, computed_at = excluded.computed_at
    WHERE (r.volume, r.planned, r.sent, r.replied, r.bounced, r.rescued, r.inbox, r.junk, r.other, r.missing,
        r.unobservable) IS DISTINCT FROM (excluded.volume, excluded.planned, excluded.sent, excluded.replied,
        excluded.bounced, excluded.rescued, excluded.inbox, excluded.junk, excluded.other, excluded.missing,
        excluded.unobservable))
  SELECT count(*)::integer FROM boxes
$$;

-- The domains of a workspace's mailboxes that are no peers now, with the reason: sched.domain_blocked for all of
-- them at once. By the tenant's door it tells of that workspace alone.
CREATE FUNCTION sched.blocked_domains(p_workspace uuid, p_now timestamptz) RETURNS TABLE (domain text, reason text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  WITH suspects AS (
    SELECT h.domain FROM domain_health h
    WHERE h.workspace_id = p_workspace AND (h.mx_ok = false OR h.smtp_ok = false)
    UNION
    SELECT b.domain FROM domain_bounces b WHERE b.at > p_now - interval '7 days'
    GROUP BY b.domain HAVING count(*) >= 3)
  SELECT s.domain, r.reason
  FROM suspects s
  CROSS JOIN LATERAL (SELECT sched.domain_blocked(p_workspace, s.domain, p_now) AS reason OFFSET 0) r
  WHERE p_workspace = tenant_workspace() AND r.reason IS NOT NULL
    AND EXISTS (SELECT 1 FROM mailboxes m
                WHERE m.workspace_id = p_workspace AND m.domain = s.domain AND m.state <> 'removed')
$$;

-- How a person's workspaces stand: only those that they are a member of.
CREATE FUNCTION sched.places_today(p_user uuid, p_today date)
RETURNS TABLE (workspace_id uuid, name text, state text, role text, mailboxes integer, warming integer,
  in_trouble integer, planned integer, sent integer, inbox integer, placed integer)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT w.workspace_id, w.name, w.state, b.role, m.mailboxes, m.warming, m.in_trouble, coalesce(d.planned, 0),
    coalesce(d.sent, 0), coalesce(p.inbox, 0), coalesce(p.placed, 0)
  FROM memberships b
  JOIN workspaces w ON w.workspace_id = b.workspace_id
  CROSS JOIN LATERAL (
    SELECT count(*)::integer AS mailboxes,
      (count(*) FILTER (WHERE m.state = 'active' AND m.consent <> 'none' AND m.connected_at IS NOT NULL
        AND m.phase IN ('healthy', 'probation')))::integer AS warming,
      (count(*) FILTER (WHERE m.state = 'needs_reauth' OR m.phase IN ('quarantined', 'blocked')))::integer AS in_trouble
    FROM mailboxes m WHERE m.workspace_id = w.workspace_id AND m.state <> 'removed') m
  LEFT JOIN workspace_days d ON d.workspace_id = w.workspace_id AND d.day = p_today
  LEFT JOIN LATERAL (
    SELECT sum(x.inbox)::integer AS inbox, sum(x.inbox + x.junk + x.other + x.missing)::integer AS placed
    FROM workspace_days x WHERE x.workspace_id = w.workspace_id AND x.day > p_today - 7) p ON true
  WHERE b.user_id = p_user ORDER BY w.name, w.workspace_id
$$;

-- Each domain's DNS is looked at once a day, by a mailbox of it. Returns how many looks were planned.
CREATE FUNCTION sched.plan_dns_checks(p_now timestamptz, p_slot timestamptz) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
DECLARE
  n integer;
BEGIN
  INSERT INTO dns_reports (workspace_id, domain, next_check_at)
  SELECT DISTINCT m.workspace_id, m.domain, p_now FROM mailboxes m
  WHERE m.state IN ('active', 'paused') AND m.consent <> 'none'
  ON CONFLICT DO NOTHING;
  WITH due AS (
    UPDATE dns_reports r SET next_check_at = p_now + interval '1 day'
    WHERE r.next_check_at <= p_now
      AND EXISTS (SELECT 1 FROM mailboxes m JOIN workspaces w ON w.workspace_id = m.workspace_id AND w.state = 'active'
                  WHERE m.workspace_id = r.workspace_id AND m.domain = r.domain
                    AND m.state IN ('active', 'paused') AND m.consent <> 'none')
    RETURNING r.workspace_id, r.domain),
  planned AS (
    INSERT INTO action (workspace_id, mailbox_id, kind, due_at)
    SELECT d.workspace_id, (SELECT m.id FROM mailboxes m WHERE m.workspace_id = d.workspace_id
        AND m.domain = d.domain AND m.state IN ('active', 'paused') AND m.consent <> 'none' ORDER BY m.id LIMIT 1),
      'check_dns', p_slot
    FROM due d
    ON CONFLICT DO NOTHING RETURNING 1)
  SELECT count(*) INTO n FROM planned;
  RETURN n;
END $$;

REVOKE ALL ON FUNCTION sched.blocked_domains(uuid, timestamptz), sched.places_today(uuid, date),
  sched.plan_dns_checks(timestamptz, timestamptz) FROM PUBLIC;
GRANT USAGE ON SCHEMA sched TO @web@;
GRANT EXECUTE ON FUNCTION sched.blocked_domains(uuid, timestamptz) TO @web@, @cli@, @scheduler@;
GRANT EXECUTE ON FUNCTION sched.places_today(uuid, date) TO @web@, @scheduler@;
GRANT EXECUTE ON FUNCTION sched.plan_dns_checks(timestamptz, timestamptz) TO @scheduler@;
RESET ROLE;

SET LOCAL ROLE @signin@;

-- Of these sessions those that are still good, without using them, with the workspaces that each may hear of.
CREATE FUNCTION signin.streams(p_sessions uuid[], p_now timestamptz, p_idle interval)
RETURNS TABLE (session_id uuid, workspaces uuid[])
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
  SELECT s.id, ARRAY(SELECT b.workspace_id FROM memberships b WHERE b.user_id = s.user_id)
  FROM sessions s
  WHERE s.id = ANY (p_sessions) AND s.user_id IS NOT NULL AND s.expires_at > p_now AND s.seen_at > p_now - p_idle
$$;

REVOKE ALL ON FUNCTION signin.streams(uuid[], timestamptz, interval) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION signin.streams(uuid[], timestamptz, interval) TO @web@;
RESET ROLE;

-- Word of changes for who has a page open: `workspace topic id`, ids only, on the channel `mailhearth_changes`. None
-- of these rows changes with every message: a notification makes commits take turns.
CREATE FUNCTION announce_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  subject text := to_jsonb(NEW) ->> TG_ARGV[1];
BEGIN
  PERFORM pg_notify('mailhearth_changes', NEW.workspace_id || ' ' || TG_ARGV[0] || ' ' || coalesce(subject, ''));
  RETURN NULL;
END $$;
CREATE TRIGGER workspace_days_announce AFTER INSERT OR UPDATE ON workspace_days
  FOR EACH ROW EXECUTE FUNCTION announce_change('day', '');
CREATE TRIGGER dns_reports_announce AFTER UPDATE OF report ON dns_reports
  FOR EACH ROW EXECUTE FUNCTION announce_change('dns', '');
CREATE TRIGGER connection_attempts_announce AFTER UPDATE OF state, steps ON connection_attempts
  FOR EACH ROW EXECUTE FUNCTION announce_change('attempt', 'id');
CREATE TRIGGER commands_announce_end AFTER UPDATE OF state ON commands
  FOR EACH ROW WHEN (NEW.state <> 'open') EXECUTE FUNCTION announce_change('command', 'id');
CREATE TRIGGER pools_announce AFTER INSERT OR UPDATE ON pools
  FOR EACH ROW EXECUTE FUNCTION announce_change('pool', 'id');
CREATE TRIGGER workspaces_announce AFTER UPDATE OF state ON workspaces
  FOR EACH ROW EXECUTE FUNCTION announce_change('workspace', '');
CREATE TRIGGER mailboxes_announce_new AFTER INSERT ON mailboxes
  FOR EACH ROW EXECUTE FUNCTION announce_change('mailbox', 'id');
CREATE TRIGGER mailboxes_announce AFTER UPDATE ON mailboxes FOR EACH ROW
  WHEN ((OLD.state, OLD.phase, OLD.consent, OLD.last_error, OLD.connected_at, OLD.pool_id)
    IS DISTINCT FROM (NEW.state, NEW.phase, NEW.consent, NEW.last_error, NEW.connected_at, NEW.pool_id))
  EXECUTE FUNCTION announce_change('mailbox', 'id');

-- Who may listen has changed: a person came into a workspace, left it or has another role; a session has ended.
CREATE FUNCTION announce_member() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('mailhearth_changes',
    coalesce(NEW.workspace_id, OLD.workspace_id) || ' member ' || coalesce(NEW.user_id, OLD.user_id));
  RETURN NULL;
END $$;
CREATE TRIGGER memberships_announce AFTER INSERT OR UPDATE OR DELETE ON memberships
  FOR EACH ROW EXECUTE FUNCTION announce_member();
CREATE FUNCTION announce_session() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('mailhearth_changes', '- session ' || OLD.id);
  RETURN NULL;
END $$;
CREATE TRIGGER sessions_announce AFTER DELETE ON sessions FOR EACH ROW WHEN (OLD.user_id IS NOT NULL)
  EXECUTE FUNCTION announce_session();
