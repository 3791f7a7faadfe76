-- The sealer's calls, by the scheduler's login. :now is machine time.

-- name: unsealed_events
SELECT * FROM sched.unsealed_events(:batch);

-- name: chain_head^
SELECT * FROM sched.chain_head(:workspace_id);

-- name: seal_events$
SELECT sched.seal_events(:seals);

-- name: heads_to_sign
SELECT * FROM sched.heads_to_sign();

-- name: add_checkpoints$
SELECT sched.add_checkpoints(:points);

-- name: prune_audit$
SELECT sched.prune_audit(:before, :batch, :now);
