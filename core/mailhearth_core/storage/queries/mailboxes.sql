-- Mailboxes by a workspace's door: connecting them, looking at many, importing.

-- name: add_attempt!
INSERT INTO connection_attempts (workspace_id, id, kind, state, mailbox_id, worker_group, settings, key_version,
  sealed, found, created_at, expires_at)
VALUES (:workspace_id, :id, :kind, :state, :mailbox_id, :worker_group, :settings, :key_version, :sealed, :found,
  :created_at, :expires_at);

-- name: attempt^
SELECT id, kind, state, mailbox_id, settings, steps, found, created_at, expires_at
FROM connection_attempts WHERE id = :id AND expires_at > :now;

-- name: take_attempt^
DELETE FROM connection_attempts WHERE id = :id AND expires_at > :now
RETURNING id, kind, state, mailbox_id, settings, key_version, sealed, steps, found, created_at, expires_at;

-- name: worker_group$
SELECT worker_group FROM pools WHERE :pool_id::uuid IS NULL OR id = :pool_id ORDER BY created_at, id LIMIT 1;

-- name: pool_names
SELECT id, name FROM pools ORDER BY name;

-- name: taken_among
SELECT address FROM mailboxes WHERE address = ANY (:addresses) AND state <> 'removed';

-- name: usable_key$
SELECT version FROM key_versions WHERE version = :version AND state IN ('active', 'retiring', 'archived');

-- name: lock_mailbox$
SELECT id FROM mailboxes WHERE id = :id AND state <> 'removed' FOR UPDATE;

-- name: standings
-- How many mailboxes there are of each standing and pool that match the text.
WITH found AS (
  SELECT m.pool_id, CASE WHEN m.consent = 'none' THEN 'without_consent'
      WHEN m.state <> 'active' THEN m.state
      WHEN m.phase IN ('blocked', 'quarantined') THEN m.phase
      WHEN m.connected_at IS NULL THEN 'connecting' ELSE 'warming' END AS standing
  FROM mailboxes m
  WHERE m.state <> 'removed'
    AND (:pattern::text IS NULL OR m.address LIKE :pattern OR lower(m.display_name) LIKE :pattern))
SELECT pool_id, standing, count(*)::integer AS n FROM found GROUP BY 1, 2;

-- name: page
-- One page of mailboxes. What is sorted is as narrow as can be: ids and the sort's own key, of which only the page's
-- are kept. All else is read for the page's rows alone.
WITH hits AS (
  SELECT f.workspace_id, f.id, f.address, f.standing,
    CASE WHEN :descending::boolean THEN -1 ELSE 1 END * CASE :sort::text WHEN 'volume' THEN s.volume::numeric
      WHEN 'health' THEN r.share WHEN 'added' THEN extract(epoch FROM f.created_at) END AS number,
    CASE :sort::text WHEN 'pool' THEN p.name WHEN 'standing' THEN f.standing WHEN 'address' THEN f.address END AS word
  FROM (
    SELECT m.workspace_id, m.id, m.address, m.created_at, m.timezone, m.pool_id,
      CASE WHEN m.consent = 'none' THEN 'without_consent'
        WHEN m.state <> 'active' THEN m.state
        WHEN m.phase IN ('blocked', 'quarantined') THEN m.phase
        WHEN m.connected_at IS NULL THEN 'connecting' ELSE 'warming' END AS standing
    FROM mailboxes m
    WHERE m.state <> 'removed' AND (:pool_id::uuid IS NULL OR m.pool_id = :pool_id)
      AND (:pattern::text IS NULL OR m.address LIKE :pattern OR lower(m.display_name) LIKE :pattern)) f
  LEFT JOIN pools p ON :sort::text = 'pool' AND p.workspace_id = f.workspace_id AND p.id = f.pool_id
  LEFT JOIN day_sizes s ON :sort::text = 'volume' AND s.workspace_id = f.workspace_id AND s.mailbox_id = f.id
    AND s.day = (:now::timestamptz AT TIME ZONE f.timezone)::date
    AND s.day BETWEEN (:now::timestamptz AT TIME ZONE 'UTC')::date - 1 AND (:now::timestamptz AT TIME ZONE 'UTC')::date + 1
  LEFT JOIN (
    SELECT r.mailbox_id, sum(r.inbox)::numeric / nullif(sum(r.inbox + r.junk + r.other + r.missing), 0) AS share
    FROM rollups r
    WHERE :sort::text = 'health' AND r.day > (:now::timestamptz AT TIME ZONE 'UTC')::date - 7 GROUP BY 1) r
    ON r.mailbox_id = f.id
  WHERE :standing::text IS NULL OR f.standing = :standing),
few AS (
  SELECT workspace_id, id, address, standing, number, CASE WHEN NOT :descending::boolean THEN word END AS up,
    CASE WHEN :descending::boolean THEN word END AS down
  FROM hits ORDER BY number NULLS LAST, up, down DESC NULLS LAST, address LIMIT :limit OFFSET :offset),
shown AS (
  SELECT workspace_id, id, standing,
    row_number() OVER (ORDER BY number NULLS LAST, up, down DESC NULLS LAST, address) AS place
  FROM few),
wide AS (
  SELECT m.workspace_id, m.id, m.address, m.display_name, m.pool_id, p.name AS pool, p.policy, m.domain, m.state,
    m.state_reason, m.consent, m.phase, m.phase_until, m.auth, m.peer_provider, m.last_error, m.created_at, m.timezone,
    m.connected_at, shown.standing,
    (:now::timestamptz AT TIME ZONE m.timezone)::date AS today, shown.place
  FROM shown JOIN mailboxes m ON m.workspace_id = shown.workspace_id AND m.id = shown.id
  JOIN pools p ON p.workspace_id = m.workspace_id AND p.id = m.pool_id)
SELECT h.*, s.volume, o.sent, o.planned, r.inbox, r.seen, r.sent_week, r.bounced_week
FROM wide h
LEFT JOIN day_sizes s ON s.workspace_id = h.workspace_id AND s.mailbox_id = h.id AND s.day = h.today
LEFT JOIN LATERAL (
  SELECT count(*) FILTER (WHERE o.state <> 'cancelled')::integer AS planned,
    count(*) FILTER (WHERE o.state IN ('sent', 'bounced'))::integer AS sent
  FROM outbound o WHERE o.workspace_id = h.workspace_id AND o.mailbox_id = h.id AND o.day = h.today) o ON true
LEFT JOIN LATERAL (
  SELECT sum(r.inbox)::integer AS inbox, sum(r.inbox + r.junk + r.other + r.missing)::integer AS seen,
    sum(r.sent + r.bounced)::integer AS sent_week, sum(r.bounced)::integer AS bounced_week
  FROM rollups r WHERE r.workspace_id = h.workspace_id AND r.mailbox_id = h.id AND r.day > h.today - 7) r ON true
ORDER BY h.place;

-- name: mailbox^
SELECT m.id, m.address, m.pool_id, p.name AS pool, p.worker_group, p.peering_scope, m.display_name, m.timezone,
  m.imap_host, m.imap_port, m.imap_tls, m.smtp_host, m.smtp_port, m.smtp_tls, m.username, m.ca_pem, m.state,
  m.state_reason, m.state_since, m.consent, m.auth_failures, m.last_error, m.last_error_at, m.connected_at,
  m.created_at, m.domain, m.has_campaign, m.next_size_at, m.provider, m.peer_provider, m.auth,
  m.oauth_token_endpoint, m.oauth_client_id, m.phase, m.phase_since, m.phase_until, m.phase_cause, m.is_sensor
FROM mailboxes m JOIN pools p ON p.workspace_id = m.workspace_id AND p.id = m.pool_id
WHERE m.id = :id AND m.state <> 'removed';

-- name: last_consent^
SELECT scope, actor, via, at FROM consent_ledger WHERE mailbox_id = :id ORDER BY at DESC, id DESC LIMIT 1;

-- name: describe!
UPDATE mailboxes SET display_name = :display_name, timezone = :timezone, next_size_at = :next_size_at WHERE id = :id;

-- name: move!
UPDATE mailboxes SET pool_id = :pool_id WHERE id = :id;

-- name: add_import!
INSERT INTO mailbox_imports (workspace_id, id, file_name, encoding, guessed, created_at, expires_at)
VALUES (:workspace_id, :id, :file_name, :encoding, :guessed, :created_at, :expires_at);

-- name: import_^
SELECT i.id, i.file_name, i.encoding, i.guessed, i.created_at, i.expires_at, r.rows, r.wrong
FROM mailbox_imports i CROSS JOIN LATERAL (
  SELECT count(*)::integer AS rows, count(*) FILTER (WHERE r.mailbox_id IS NULL)::integer AS wrong
  FROM mailbox_import_rows r WHERE r.workspace_id = i.workspace_id AND r.import_id = i.id) r
WHERE i.id = :id AND i.expires_at > :now;

-- name: import_rows
-- The lines before those of a page are only counted.
WITH shown AS (
  SELECT line FROM mailbox_import_rows
  WHERE import_id = :import_id AND (NOT :only_wrong::boolean OR mailbox_id IS NULL)
  ORDER BY line LIMIT :limit OFFSET :offset)
SELECT r.line, r.address, r.errors, r.mailbox_id, r.settings, p.name AS pool
FROM shown JOIN mailbox_import_rows r ON r.import_id = :import_id AND r.line = shown.line
LEFT JOIN pools p ON p.workspace_id = r.workspace_id AND p.id::text = r.settings ->> 'pool_id'
ORDER BY r.line;

-- name: import_mistakes
SELECT line, address, errors FROM mailbox_import_rows
WHERE import_id = :import_id AND mailbox_id IS NULL AND line > :after ORDER BY line LIMIT :limit;

-- name: lock_import^
-- Two clicks on the same button meet here: the second waits, and then finds nothing.
SELECT id FROM mailbox_imports WHERE id = :id AND expires_at > :now FOR UPDATE;

-- name: add_import_rows!
INSERT INTO mailbox_import_rows (workspace_id, import_id, line, address, errors, mailbox_id, settings, key_version,
  imap_sealed, smtp_sealed)
SELECT :workspace_id, :import_id, r.line, r.address, r.errors::jsonb, r.mailbox_id, r.settings::jsonb, r.key_version,
  r.imap_sealed, r.smtp_sealed
FROM unnest(:lines::integer[], :addresses::text[], :errors::text[], :mailbox_ids::uuid[], :settings::text[],
  :key_versions::integer[], :imap_sealed::bytea[], :smtp_sealed::bytea[])
  AS r(line, address, errors, mailbox_id, settings, key_version, imap_sealed, smtp_sealed);

-- name: import_key_versions
SELECT DISTINCT r.key_version, k.state
FROM mailbox_import_rows r
LEFT JOIN key_versions k ON k.workspace_id = r.workspace_id AND k.version = r.key_version
WHERE r.import_id = :import_id AND r.mailbox_id IS NOT NULL;

-- name: import_timezones
SELECT DISTINCT settings ->> 'timezone' AS timezone FROM mailbox_import_rows
WHERE import_id = :import_id AND mailbox_id IS NOT NULL;

-- name: import_asks_network$
SELECT EXISTS (SELECT 1 FROM mailbox_import_rows WHERE import_id = :import_id AND settings ->> 'consent' = 'network');

-- name: import_taken
-- Addresses that have come in by another way since the file was looked at.
SELECT r.line, r.address FROM mailbox_import_rows r
JOIN mailboxes m ON m.workspace_id = r.workspace_id AND m.address = r.address AND m.state <> 'removed'
WHERE r.import_id = :import_id AND r.mailbox_id IS NOT NULL ORDER BY r.line;

-- name: import_mailboxes$
-- Everything that adding one mailbox writes, for all rows without an error. `:midnights` has the start of the
-- present local day by zone. Without consent nobody signs in, so no poll is due.
WITH chosen AS (
  SELECT r.*, (r.settings ->> 'pool_id')::uuid AS pool_id, r.settings ->> 'consent' AS consent
  FROM mailbox_import_rows r
  WHERE r.import_id = :import_id AND r.mailbox_id IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM mailboxes m WHERE m.workspace_id = r.workspace_id AND m.address = r.address
      AND m.state <> 'removed')),
added AS (
  INSERT INTO mailboxes (workspace_id, id, pool_id, address, domain, display_name, timezone, provider, peer_provider,
    imap_host, imap_port, imap_tls, smtp_host, smtp_port, smtp_tls, ca_pem, username, auth, seed, state_since, consent,
    next_size_at, created_at)
  SELECT c.workspace_id, c.mailbox_id, c.pool_id, c.address, split_part(c.address, '@', 2),
    c.settings ->> 'display_name', c.settings ->> 'timezone', c.settings ->> 'provider',
    c.settings ->> 'peer_provider', c.settings ->> 'imap_host', (c.settings ->> 'imap_port')::integer,
    c.settings ->> 'imap_tls', c.settings ->> 'smtp_host', (c.settings ->> 'smtp_port')::integer,
    c.settings ->> 'smtp_tls', NULL, c.settings ->> 'username', 'password', (c.settings ->> 'seed')::bigint,
    :now::timestamptz, c.consent, (:midnights::jsonb ->> (c.settings ->> 'timezone'))::timestamptz, :now::timestamptz
  FROM chosen c),
leased AS (
  INSERT INTO mailbox_leases (workspace_id, mailbox_id) SELECT workspace_id, mailbox_id FROM chosen),
sealed AS (
  INSERT INTO sealed_credentials (workspace_id, mailbox_id, field, key_version, sealed, sealed_at)
  SELECT c.workspace_id, c.mailbox_id, f.field, c.key_version, f.sealed, :machine::timestamptz
  FROM chosen c CROSS JOIN LATERAL (VALUES ('imap_password', c.imap_sealed), ('smtp_password', c.smtp_sealed))
    AS f(field, sealed)),
ledger AS (
  INSERT INTO consent_ledger (workspace_id, mailbox_id, scope, actor, via, at)
  SELECT workspace_id, mailbox_id, consent, :actor, :via, :now::timestamptz FROM chosen),
polled AS (
  INSERT INTO action (workspace_id, mailbox_id, kind, due_at)
  SELECT workspace_id, mailbox_id, 'poll', :now::timestamptz FROM chosen WHERE consent <> 'none'),
told AS (
  INSERT INTO audit_events (workspace_id, action, actor, subject, detail, at)
  SELECT workspace_id, 'mailbox.added', :actor, address,
    jsonb_build_object('imap', settings ->> 'imap_host', 'import', import_id), :machine::timestamptz FROM chosen)
SELECT count(*)::integer FROM chosen;

-- name: drop_import!
DELETE FROM mailbox_imports WHERE id = :id;

-- name: drop_old_imports!
DELETE FROM mailbox_imports WHERE expires_at <= :now;
