-- The warmup day: its size, its actions, the two halves of each message, and what came of them.
-- All times are business time unless a comment says machine.

CREATE TABLE day_sizes (
  workspace_id uuid NOT NULL,
  mailbox_id   uuid NOT NULL,
  day          date NOT NULL,                    -- the mailbox's local date
  volume       integer NOT NULL,
  inputs       jsonb NOT NULL,                   -- everything size_day saw: serves why, replay, simulator
  reasons      jsonb NOT NULL,
  sized_at     timestamptz NOT NULL,
  PRIMARY KEY (workspace_id, mailbox_id, day),
  FOREIGN KEY (workspace_id, mailbox_id) REFERENCES mailboxes (workspace_id, id)
);

CREATE TABLE controller_rows (
  workspace_id uuid NOT NULL,
  mailbox_id   uuid NOT NULL,
  day          date NOT NULL,
  state        text NOT NULL,
  target_volume integer NOT NULL,
  body         jsonb NOT NULL,                   -- the whole row, as ramp.ControllerRow
  reasons      jsonb NOT NULL,
  PRIMARY KEY (workspace_id, mailbox_id, day),
  FOREIGN KEY (workspace_id, mailbox_id) REFERENCES mailboxes (workspace_id, id)
);

-- The sender's half of a message.
CREATE TABLE outbound (
  workspace_id uuid NOT NULL,
  id           uuid NOT NULL DEFAULT uuid7(),
  mailbox_id   uuid NOT NULL,
  day          date NOT NULL,                    -- the cohort: the sender's local date
  slot         integer NOT NULL,
  kind         text NOT NULL DEFAULT 'thread' CHECK (kind IN ('thread', 'reply')),
  state        text NOT NULL DEFAULT 'planned' CHECK (state IN ('planned', 'bound', 'sending', 'sent',
               'uncertain', 'unconfirmed', 'bounced', 'failed', 'skipped', 'cancelled')),
  reason       text NOT NULL DEFAULT '',
  due_at       timestamptz NOT NULL,
  correlation_id uuid NOT NULL DEFAULT uuid7(),
  pair_id      uuid,                             -- opaque; joins it with the recipient's half
  peer_ref     text,                             -- the peer port's name of the recipient
  peer_address text,
  peer_domain  text,
  peer_name    text,
  message_id   text,
  subject      text,
  seed         bigint,
  library      text,                             -- builtin/1 or own/<id>
  thread_id    uuid,
  turn         integer NOT NULL DEFAULT 0,
  in_reply_to  text,
  refs         text[] NOT NULL DEFAULT '{}',
  reply_to_inbound uuid,
  bind_reason  text NOT NULL DEFAULT '',
  sending_at   timestamptz,
  sent_at      timestamptz,
  smtp_reply   text NOT NULL DEFAULT '',
  evidence     text NOT NULL DEFAULT '',         -- smtp, recipient, sent_folder, dsn
  arrived_at   timestamptz,                      -- carried across from the recipient
  placement    text CHECK (placement IN ('inbox', 'tab', 'junk', 'other', 'missing', 'unobservable')),
  placement_provider text,
  PRIMARY KEY (workspace_id, id),
  UNIQUE (workspace_id, mailbox_id, day, slot),
  FOREIGN KEY (workspace_id, mailbox_id) REFERENCES mailboxes (workspace_id, id)
);
CREATE UNIQUE INDEX outbound_pair ON outbound (workspace_id, pair_id) WHERE pair_id IS NOT NULL;
CREATE INDEX outbound_pair_lookup ON outbound (pair_id) WHERE pair_id IS NOT NULL;
CREATE INDEX outbound_open ON outbound (workspace_id, mailbox_id, due_at)
  WHERE state IN ('planned', 'bound', 'sending', 'uncertain');
CREATE INDEX outbound_uncertain ON outbound (sending_at) WHERE state = 'uncertain';
CREATE INDEX outbound_unanswered ON outbound (workspace_id, mailbox_id, sending_at)
  WHERE state IN ('sent', 'uncertain') AND placement IS NULL;
CREATE INDEX outbound_cohort ON outbound (day);
CREATE INDEX outbound_reply_to ON outbound (workspace_id, reply_to_inbound) WHERE reply_to_inbound IS NOT NULL;
CREATE INDEX outbound_message_id ON outbound (workspace_id, message_id) WHERE message_id IS NOT NULL;
CREATE INDEX outbound_recent_pairs ON outbound (due_at) WHERE kind = 'thread' AND peer_ref IS NOT NULL;

-- The recipient's half.
CREATE TABLE inbound (
  workspace_id uuid NOT NULL,
  id           uuid NOT NULL DEFAULT uuid7(),
  mailbox_id   uuid NOT NULL,
  day          date NOT NULL,                    -- the recipient's local date of the due moment: its ledger
  pair_id      uuid NOT NULL,
  state        text NOT NULL DEFAULT 'expected' CHECK (state IN
               ('expected', 'in_flight', 'observed', 'missing', 'unobservable')),
  correlation_id uuid NOT NULL,
  peer_ref     text NOT NULL,
  sender_address text NOT NULL,
  sender_name  text NOT NULL DEFAULT '',
  message_id   text NOT NULL,
  subject      text NOT NULL,
  seed         bigint NOT NULL,
  library      text NOT NULL,
  thread_id    uuid NOT NULL,
  turn         integer NOT NULL,
  due_at       timestamptz NOT NULL,
  sent_at      timestamptz,                      -- set when the sender's worker says it left
  observed_at  timestamptz,                      -- first observation: immutable, like placement
  arrived_at   timestamptz,
  placement    text CHECK (placement IN ('inbox', 'tab', 'junk', 'other', 'missing', 'unobservable')),
  placement_provider text,
  observed_message_id text,                      -- may differ from message_id: providers rewrite it
  observed_refs text[] NOT NULL DEFAULT '{}',
  observed_date timestamptz,
  auto_submitted boolean NOT NULL DEFAULT false,
  copies       integer NOT NULL DEFAULT 0,       -- most copies ever counted in this mailbox
  inbox_scanned_at timestamptz,
  junk_scanned_at timestamptz,
  folder       text,
  uidvalidity  bigint,
  uid          bigint,
  rescued_at   timestamptz,
  read_at      timestamptz,
  flagged_at   timestamptz,
  filed_at     timestamptz,
  expunged_at  timestamptz,
  reply_state  text NOT NULL DEFAULT 'none' CHECK (reply_state IN ('none', 'wished', 'bound', 'sent', 'expired')),
  reply_at     timestamptz,
  PRIMARY KEY (workspace_id, id),
  FOREIGN KEY (workspace_id, mailbox_id) REFERENCES mailboxes (workspace_id, id)
);
CREATE UNIQUE INDEX inbound_pair ON inbound (workspace_id, pair_id);
CREATE INDEX inbound_pair_lookup ON inbound (pair_id);
CREATE INDEX inbound_message_id ON inbound (workspace_id, mailbox_id, message_id);
CREATE INDEX inbound_outstanding ON inbound (workspace_id, mailbox_id, due_at) WHERE state IN ('expected', 'in_flight');
CREATE INDEX inbound_in_flight ON inbound (sent_at) WHERE state = 'in_flight';
CREATE INDEX inbound_ledger ON inbound (day, mailbox_id);
CREATE INDEX inbound_wishes ON inbound (reply_at) WHERE reply_state = 'wished';

ALTER TABLE outbound ADD FOREIGN KEY (workspace_id, reply_to_inbound) REFERENCES inbound (workspace_id, id);

-- Everything that is to be done in a mailbox, claimed one way.
CREATE TABLE action (
  workspace_id uuid NOT NULL,
  id           uuid NOT NULL DEFAULT uuid7(),
  mailbox_id   uuid NOT NULL,
  kind         text NOT NULL CHECK (kind IN ('send', 'poll', 'rescue', 'read', 'flag', 'file', 'expunge',
               'evidence', 'expunge_sent', 'check_domain', 'census')),
  due_at       timestamptz NOT NULL,
  not_after    timestamptz,
  state        text NOT NULL DEFAULT 'pending' CHECK (state IN ('waiting', 'pending', 'leased', 'sending',
               'done', 'skipped', 'cancelled', 'failed', 'uncertain')),
  reason       text NOT NULL DEFAULT '',
  attempt      integer NOT NULL DEFAULT 0,
  lease_token  bigint,
  outbound_id  uuid,
  inbound_id   uuid,
  finished_at  timestamptz,
  PRIMARY KEY (workspace_id, id),
  FOREIGN KEY (workspace_id, mailbox_id) REFERENCES mailboxes (workspace_id, id),
  FOREIGN KEY (workspace_id, outbound_id) REFERENCES outbound (workspace_id, id),
  FOREIGN KEY (workspace_id, inbound_id) REFERENCES inbound (workspace_id, id),
  CHECK ((kind IN ('send', 'evidence', 'expunge_sent')) = (outbound_id IS NOT NULL)),
  CHECK ((kind IN ('rescue', 'read', 'flag', 'file', 'expunge')) = (inbound_id IS NOT NULL))
);
CREATE INDEX action_claim ON action (workspace_id, mailbox_id, due_at) WHERE state = 'pending';
-- What is not finished yet, whatever it is: the one way of the scheduler's queries past the finished rows.
CREATE INDEX action_open ON action (due_at) WHERE state IN ('waiting', 'pending', 'leased', 'sending');
CREATE INDEX action_held ON action (workspace_id, mailbox_id) WHERE state IN ('leased', 'sending');
CREATE UNIQUE INDEX action_one_poll ON action (workspace_id, mailbox_id) WHERE kind = 'poll' AND state = 'pending';
CREATE UNIQUE INDEX action_one_check ON action (workspace_id, mailbox_id)
  WHERE kind = 'check_domain' AND state IN ('pending', 'leased');
CREATE INDEX action_by_outbound ON action (workspace_id, outbound_id) WHERE outbound_id IS NOT NULL;
CREATE INDEX action_by_inbound ON action (workspace_id, inbound_id) WHERE inbound_id IS NOT NULL;

-- The lock on a mailbox: a lease with a fencing token. Machine time.
CREATE TABLE mailbox_leases (
  workspace_id uuid NOT NULL,
  mailbox_id   uuid NOT NULL,
  token        bigint NOT NULL DEFAULT 0,
  owner        text,
  expires_at   timestamptz,
  wake_number  bigint NOT NULL DEFAULT 0,
  woken_at     timestamptz,
  last_poll_at timestamptz,                      -- business
  last_sent_at timestamptz,                      -- business
  PRIMARY KEY (workspace_id, mailbox_id),
  FOREIGN KEY (workspace_id, mailbox_id) REFERENCES mailboxes (workspace_id, id)
);
CREATE INDEX mailbox_leases_held ON mailbox_leases (expires_at) WHERE owner IS NOT NULL;

-- How far each folder has been read.
CREATE TABLE folder_states (
  workspace_id uuid NOT NULL,
  mailbox_id   uuid NOT NULL,
  folder       text NOT NULL,
  uidvalidity  bigint NOT NULL,
  uidnext      bigint NOT NULL,
  modseq       bigint,
  scanned_at   timestamptz NOT NULL,
  PRIMARY KEY (workspace_id, mailbox_id, folder),
  FOREIGN KEY (workspace_id, mailbox_id) REFERENCES mailboxes (workspace_id, id)
);

-- Recomputed and upserted while a cohort is open (8 days), never incremented.
CREATE TABLE rollups (
  workspace_id uuid NOT NULL,
  mailbox_id   uuid NOT NULL,
  day          date NOT NULL,
  planned      integer NOT NULL,
  sent         integer NOT NULL,
  inbox        integer NOT NULL,
  junk         integer NOT NULL,
  other        integer NOT NULL,
  missing      integer NOT NULL,
  unobservable integer NOT NULL,
  bounced      integer NOT NULL,
  replied      integer NOT NULL,
  computed_at  timestamptz NOT NULL,
  PRIMARY KEY (workspace_id, mailbox_id, day),
  FOREIGN KEY (workspace_id, mailbox_id) REFERENCES mailboxes (workspace_id, id)
);

-- Each workspace watches the domains of its own mailboxes; bounces are counted across workspaces.
CREATE TABLE domain_health (
  workspace_id uuid NOT NULL REFERENCES workspaces,
  domain       text NOT NULL,
  mx_ok        boolean,
  smtp_ok      boolean,
  detail       text NOT NULL DEFAULT '',
  checked_at   timestamptz,
  next_check_at timestamptz NOT NULL,
  PRIMARY KEY (workspace_id, domain)
);

CREATE TABLE domain_bounces (
  workspace_id uuid NOT NULL,
  id           uuid NOT NULL DEFAULT uuid7(),
  outbound_id  uuid NOT NULL,
  domain       text NOT NULL,
  status       text NOT NULL,
  at           timestamptz NOT NULL,
  PRIMARY KEY (workspace_id, id),
  UNIQUE (workspace_id, outbound_id),
  FOREIGN KEY (workspace_id, outbound_id) REFERENCES outbound (workspace_id, id)
);
CREATE INDEX domain_bounces_recent ON domain_bounces (domain, at);
