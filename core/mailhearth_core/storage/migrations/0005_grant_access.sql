-- Row-level security and grants. Nobody has BYPASSRLS, and FORCE binds the owner too: after this,
-- each row is reached only through a policy that names the role.

DO $$
DECLARE
  t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['workspaces', 'memberships', 'pools', 'mailboxes', 'consent_ledger',
      'content_libraries', 'key_versions', 'sealed_credentials', 'connection_attempts', 'commands',
      'audit_events', 'day_sizes', 'controller_rows', 'outbound', 'inbound', 'action', 'mailbox_leases',
      'folder_states', 'rollups', 'domain_health', 'domain_bounces'] LOOP
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

REVOKE ALL ON SCHEMA mailhearth FROM PUBLIC;
GRANT USAGE ON SCHEMA mailhearth TO @web@, @cli@, @worker@, @scheduler@, @operator@, @admin@,
  @planner@, @carrier@, @steward@, @warden@;
SET LOCAL ROLE @planner@;
GRANT USAGE ON SCHEMA sched TO @scheduler@, @cli@, @operator@, @steward@;
SET LOCAL ROLE @carrier@;
GRANT USAGE ON SCHEMA carry TO @worker@;
SET LOCAL ROLE @steward@;
GRANT USAGE ON SCHEMA steward TO @cli@;
GRANT USAGE ON SCHEMA admin TO @admin@, @cli@;
SET LOCAL ROLE @warden@;
GRANT USAGE ON SCHEMA warden TO @operator@;
RESET ROLE;
GRANT SELECT ON installation, business_clock, clock_epochs TO @web@, @cli@, @worker@, @scheduler@, @operator@,
  @planner@, @carrier@, @steward@, @warden@;

-- The customers' door. The public halves of keys are read here and never written.
GRANT SELECT ON workspaces, memberships, pools, mailboxes, consent_ledger, content_libraries, key_versions,
  sealed_credentials, connection_attempts, commands, audit_events, day_sizes, controller_rows, outbound, inbound,
  action, mailbox_leases, folder_states, rollups, domain_health, domain_bounces TO @web@, @cli@;
GRANT INSERT ON mailboxes, consent_ledger, content_libraries, sealed_credentials, connection_attempts, commands,
  audit_events, mailbox_leases, action TO @web@, @cli@;
GRANT UPDATE ON mailboxes, content_libraries, sealed_credentials TO @web@, @cli@;
GRANT DELETE ON sealed_credentials, connection_attempts TO @web@, @cli@;

-- A worker: its own workspace's mail, and no more than it needs of it.
GRANT SELECT ON workspaces, pools, mailboxes, content_libraries, key_versions, sealed_credentials,
  connection_attempts, outbound, inbound, action, mailbox_leases, folder_states, domain_health, domain_bounces
  TO @worker@;
GRANT UPDATE (state, state_reason, state_since, connected_at, auth_failures, last_error, last_error_at)
  ON mailboxes TO @worker@;
GRANT UPDATE (key_version, generation, sealed, sealed_at) ON sealed_credentials TO @worker@;
GRANT UPDATE (state, steps, started_at, finished_at) ON connection_attempts TO @worker@;
-- Its half of a message may change in what happened to it, never in who writes to whom.
GRANT UPDATE (state, reason, attempt, lease_token, due_at, finished_at) ON action TO @worker@;
GRANT UPDATE (state, reason, sending_at, sent_at, smtp_reply, evidence) ON outbound TO @worker@;
GRANT UPDATE (state, observed_at, arrived_at, placement, placement_provider, observed_message_id, observed_refs,
  observed_date, auto_submitted, copies, inbox_scanned_at, junk_scanned_at, folder, uidvalidity, uid, rescued_at,
  read_at, flagged_at, filed_at, expunged_at, reply_state, reply_at) ON inbound TO @worker@;
GRANT UPDATE (token, owner, expires_at, woken_at, last_poll_at, last_sent_at) ON mailbox_leases TO @worker@;
GRANT UPDATE (mx_ok, smtp_ok, detail, checked_at) ON domain_health TO @worker@;
GRANT UPDATE ON folder_states TO @worker@;
GRANT INSERT ON action, folder_states, domain_health, domain_bounces, audit_events TO @worker@;
GRANT DELETE ON folder_states TO @worker@;

-- The families behind the definer functions.
GRANT SELECT ON workspaces, pools, mailboxes, day_sizes, controller_rows, outbound, inbound, action, mailbox_leases,
  rollups, domain_health, domain_bounces, content_libraries, key_versions, sealed_credentials, connection_attempts,
  commands TO @planner@;
GRANT INSERT ON day_sizes, controller_rows, outbound, inbound, action, rollups, clock_epochs, domain_health TO @planner@;
GRANT UPDATE ON outbound, inbound, action, mailbox_leases, rollups, business_clock, connection_attempts,
  domain_health TO @planner@;
GRANT UPDATE (next_size_at) ON mailboxes TO @planner@;
GRANT DELETE ON inbound, action, connection_attempts, clock_epochs TO @planner@;

GRANT SELECT ON workspaces, pools, mailboxes, outbound, inbound, action, mailbox_leases TO @carrier@;
GRANT INSERT ON action TO @carrier@;
GRANT UPDATE ON outbound, inbound, action TO @carrier@;
GRANT DELETE ON inbound TO @carrier@;

GRANT SELECT ON workspaces, users, memberships, pools, mailboxes, outbound, inbound, action, mailbox_leases, rollups,
  day_sizes, controller_rows, domain_health, domain_bounces, key_versions, sealed_credentials, commands,
  connection_attempts TO @steward@;
GRANT INSERT ON workspaces, commands, audit_events, platform_audit_events, action TO @steward@;
GRANT UPDATE (state, state_reason) ON workspaces TO @steward@;
GRANT UPDATE (sending_ends) ON business_clock TO @steward@;

GRANT SELECT, INSERT, UPDATE ON workspaces, pools, worker_groups, key_versions, commands TO @warden@;
GRANT INSERT ON audit_events, platform_audit_events TO @warden@;
GRANT SELECT, DELETE ON workspaces, users, memberships, pools, mailboxes, consent_ledger, content_libraries,
  key_versions, sealed_credentials, connection_attempts, commands, audit_events, day_sizes, controller_rows,
  outbound, inbound, action, mailbox_leases, folder_states, rollups, domain_health, domain_bounces TO @warden@;
GRANT UPDATE ON outbound, inbound TO @warden@;

GRANT EXECUTE ON FUNCTION uuid7(), tenant_workspace(), worker_workspace() TO PUBLIC;
