-- What the scheduler asks to size and bind the mailboxes of some workspaces. :now is business time.

-- name: waiting_workspaces
SELECT * FROM sched.waiting_workspaces(:until);

-- name: waiting_slots
SELECT * FROM sched.waiting_slots_of(:until, :workspaces);

-- name: reply_wishes
SELECT * FROM sched.reply_wishes_of(:until, :workspaces);

-- name: recent_pairs
SELECT * FROM sched.recent_pairs_of(:since, :mailboxes);

-- name: recipient_ledger
SELECT * FROM sched.recipient_ledger_of(:since, :mailboxes);

-- name: peering
SELECT * FROM sched.peering_of(:now, :workspaces, :network);
