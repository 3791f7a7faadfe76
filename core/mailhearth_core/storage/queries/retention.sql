-- The clean-up, by the scheduler's login. Each removes a batch and says how many rows went.

-- name: plan_expunges$
SELECT sched.plan_expunges(:now, :batch);

-- name: sweep_actions$
SELECT sched.sweep_actions(:before, :batch);

-- name: sweep_commands$
SELECT sched.sweep_commands(:before, :batch);

-- name: sweep_outbound$
SELECT sched.sweep_outbound(:before, :batch);

-- name: sweep_inbound$
SELECT sched.sweep_inbound(:before, :batch);

-- name: sweep_days$
SELECT sched.sweep_days(:before, :sums_before, :batch);

-- name: sweep_mailboxes$
SELECT sched.sweep_mailboxes(:before, :batch);

-- name: sweep_sessions$
SELECT signin.sweep_sessions(:before, :batch);

-- name: sweep_links$
SELECT signin.sweep_links(:before, :batch);

-- name: sweep_invitations$
SELECT signin.sweep_invitations(:before, :batch);
