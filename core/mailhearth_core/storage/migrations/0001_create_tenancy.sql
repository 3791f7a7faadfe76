-- Who is here: the installation, its clock, workspaces, people, pools, mailboxes, consent.
-- A role's name between at-signs is replaced by this installation's name for it (see storage/roles.py).

CREATE SCHEMA sched AUTHORIZATION @planner@;     -- functions of the scheduler
CREATE SCHEMA carry AUTHORIZATION @carrier@;     -- functions that cross from one workspace to another
CREATE SCHEMA steward AUTHORIZATION @steward@;   -- functions of the command line and administration
CREATE SCHEMA warden AUTHORIZATION @warden@;     -- functions of the operator: keys, logins, projections
CREATE SCHEMA admin AUTHORIZATION @steward@;     -- views of the administration

-- Time-ordered keys (RFC 9562, version 7); written in SQL because Postgres 16 and 17 lack uuidv7().
CREATE FUNCTION uuid7() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
  SELECT encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
           PLACING substring(int8send(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
           FROM 1 FOR 6), 52, 1), 53, 1), 'hex')::uuid
$$;

-- The web's and the command line's door: the workspace named for this transaction.
CREATE FUNCTION tenant_workspace() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT nullif(current_setting('mailhearth.workspace', true), '')::uuid
$$;

-- A worker's workspace is its login: mh_w_<32 hex digits>. session_user cannot be set by the session.
CREATE FUNCTION worker_workspace() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN session_user ~ '^@prefix@_w_[0-9a-f]{32}$' THEN right(session_user, 32)::uuid END
$$;

CREATE TABLE installation (
  singleton    boolean PRIMARY KEY DEFAULT true CHECK (singleton),
  id           uuid NOT NULL DEFAULT uuid7(),
  environment  text NOT NULL CHECK (environment IN ('development', 'staging', 'production')),
  sandbox      boolean NOT NULL DEFAULT false,   -- set once and for good
  generation   bigint NOT NULL DEFAULT 1,        -- grows with each restore from a backup
  restored_at  timestamptz,                      -- business time: nothing due before it is sent
  CHECK (NOT (sandbox AND environment = 'production'))
);

-- Business time of a sandbox installation. A real installation has no row here: business time is
-- machine time. `rate` is business seconds per machine second.
CREATE TABLE business_clock (
  singleton    boolean PRIMARY KEY DEFAULT true CHECK (singleton),
  rate         double precision NOT NULL CHECK (rate >= 1),
  business_at  timestamptz NOT NULL,
  ticked_at    timestamptz NOT NULL,             -- machine time of the last tick
  sending_ends timestamptz                       -- business time after which nothing new is planned or sent
);

-- The stored epoch: pairs of machine and business time, so that INTERNALDATE can be converted.
CREATE TABLE clock_epochs (
  machine_at   timestamptz PRIMARY KEY,
  business_at  timestamptz NOT NULL
);

CREATE TABLE workspaces (
  workspace_id uuid PRIMARY KEY DEFAULT uuid7(),
  name         text NOT NULL CHECK (name ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
  state        text NOT NULL DEFAULT 'provisioning'
               CHECK (state IN ('provisioning', 'active', 'suspended', 'deleting')),
  state_reason text NOT NULL DEFAULT '',
  managed_by   text NOT NULL DEFAULT 'local',
  external_ref jsonb,                            -- (installation, namespace, name, uid) of a custom resource
  external_generation bigint,
  created_at   timestamptz NOT NULL
);
-- Names are unique in the installation's local side; a cluster binds by (namespace, name) instead.
CREATE UNIQUE INDEX workspaces_local_name ON workspaces (name) WHERE managed_by = 'local';

CREATE TABLE users (
  id           uuid PRIMARY KEY DEFAULT uuid7(),
  email        text NOT NULL UNIQUE CHECK (email = lower(email)),
  display_name text NOT NULL DEFAULT '',
  created_at   timestamptz NOT NULL
);

CREATE TABLE memberships (
  workspace_id uuid NOT NULL REFERENCES workspaces,
  id           uuid NOT NULL DEFAULT uuid7(),
  user_id      uuid NOT NULL REFERENCES users,
  role         text NOT NULL CHECK (role IN ('owner', 'admin', 'member', 'readonly')),
  created_at   timestamptz NOT NULL,
  PRIMARY KEY (workspace_id, id),
  UNIQUE (workspace_id, user_id)
);

-- A worker group names the queue, the Deployment and `worker --group`. It spans workspaces, so that a
-- shared tier for many small ones is data; it holds no customer's facts.
CREATE TABLE worker_groups (
  name         text PRIMARY KEY CHECK (name ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
  created_at   timestamptz NOT NULL
);

CREATE TABLE pools (
  workspace_id uuid NOT NULL REFERENCES workspaces,
  id           uuid NOT NULL DEFAULT uuid7(),
  name         text NOT NULL CHECK (name ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
  policy       jsonb NOT NULL,
  peering_scope text NOT NULL DEFAULT 'pool' CHECK (peering_scope IN ('pool', 'workspace', 'network')),
  worker_group text NOT NULL REFERENCES worker_groups,
  generation   bigint NOT NULL DEFAULT 1,        -- of the spec; a wish that saw an older one is refused
  managed_by   text NOT NULL DEFAULT 'local',
  external_ref jsonb,
  external_generation bigint,
  created_at   timestamptz NOT NULL,
  PRIMARY KEY (workspace_id, id),
  UNIQUE (workspace_id, name)
);

CREATE TABLE mailboxes (
  workspace_id uuid NOT NULL REFERENCES workspaces,
  id           uuid NOT NULL,
  pool_id      uuid NOT NULL,
  address      text NOT NULL CHECK (address = lower(address)),
  domain       text NOT NULL,
  display_name text NOT NULL DEFAULT '',
  timezone     text NOT NULL,
  provider     text NOT NULL,                    -- the slice: imap_smtp, gmail, outlook
  peer_provider text NOT NULL,                   -- for statistics and matching: gmail, outlook, other
  imap_host    text NOT NULL,
  imap_port    integer NOT NULL CHECK (imap_port BETWEEN 1 AND 65535),
  imap_tls     text NOT NULL CHECK (imap_tls IN ('implicit', 'starttls', 'none')),
  smtp_host    text NOT NULL,
  smtp_port    integer NOT NULL CHECK (smtp_port BETWEEN 1 AND 65535),
  smtp_tls     text NOT NULL CHECK (smtp_tls IN ('implicit', 'starttls', 'none')),
  ca_pem       text,
  username     text NOT NULL,
  auth         text NOT NULL DEFAULT 'password' CHECK (auth IN ('password', 'oauth')),
  seed         bigint NOT NULL,                  -- chooses the imitated client and its habits, for good
  state        text NOT NULL DEFAULT 'active'
               CHECK (state IN ('active', 'paused', 'needs_reauth', 'removed')),
  state_reason text NOT NULL DEFAULT '',
  state_since  timestamptz NOT NULL,
  consent      text NOT NULL DEFAULT 'none' CHECK (consent IN ('none', 'workspace', 'network')),
  has_campaign boolean NOT NULL DEFAULT false,
  connected_at timestamptz,                      -- baseline taken; null until the first sign-in
  auth_failures integer NOT NULL DEFAULT 0,      -- consecutive
  last_error   text NOT NULL DEFAULT '',
  last_error_at timestamptz,
  next_size_at timestamptz NOT NULL,             -- its next local midnight
  created_at   timestamptz NOT NULL,
  PRIMARY KEY (workspace_id, id),
  FOREIGN KEY (workspace_id, pool_id) REFERENCES pools (workspace_id, id)
);
CREATE UNIQUE INDEX mailboxes_address ON mailboxes (workspace_id, address) WHERE state <> 'removed';
CREATE INDEX mailboxes_next_size ON mailboxes (next_size_at) WHERE state <> 'removed';

-- Append-only: who agreed to what, and when.
CREATE TABLE consent_ledger (
  workspace_id uuid NOT NULL,
  id           uuid NOT NULL DEFAULT uuid7(),
  mailbox_id   uuid NOT NULL,
  scope        text NOT NULL CHECK (scope IN ('none', 'workspace', 'network')),
  actor        text NOT NULL,
  via          text NOT NULL,                    -- cli, web, api, resource
  at           timestamptz NOT NULL,
  PRIMARY KEY (workspace_id, id),
  FOREIGN KEY (workspace_id, mailbox_id) REFERENCES mailboxes (workspace_id, id)
);

-- A workspace's own conversations, used only inside it.
CREATE TABLE content_libraries (
  workspace_id uuid NOT NULL REFERENCES workspaces,
  id           uuid NOT NULL DEFAULT uuid7(),
  name         text NOT NULL,
  digest       text NOT NULL,
  source       text NOT NULL,
  active       boolean NOT NULL DEFAULT true,
  created_at   timestamptz NOT NULL,
  PRIMARY KEY (workspace_id, id),
  UNIQUE (workspace_id, digest)
);
