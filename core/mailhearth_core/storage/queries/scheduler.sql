-- The scheduler's calls: it holds EXECUTE on these functions and nothing else. :now is business time.

-- name: tick^
SELECT * FROM sched.tick(:max_step);

-- name: try_lock$
-- Replicas take turns: one phase of one replica at a time, for the length of its transaction.
SELECT pg_try_advisory_xact_lock(:key);

-- name: to_size
SELECT * FROM sched.to_size(:now, :batch);

-- name: peering_snapshot
SELECT * FROM sched.peering_snapshot(:now);

-- name: store_days$
SELECT sched.store_days(:days, :now);

-- name: waiting_slots
SELECT * FROM sched.waiting_slots(:until);

-- name: reply_wishes
SELECT * FROM sched.reply_wishes(:until);

-- name: recent_pairs
SELECT * FROM sched.recent_pairs(:since);

-- name: recipient_ledger
SELECT * FROM sched.recipient_ledger(:since);

-- name: own_libraries
SELECT * FROM sched.own_libraries();

-- name: bind$
SELECT sched.bind(:bindings);

-- name: unbind_lost_peers$
SELECT sched.unbind_lost_peers(:now);

-- name: reclaim$
SELECT sched.reclaim(:now, :poll_at);

-- name: settle
SELECT * FROM sched.settle(:now, :sending_ends);

-- name: take_wakes
SELECT * FROM sched.take_wakes(:now, :batch, :host_cap, :again_after);

-- name: forget_wakes$
SELECT sched.forget_wakes();

-- name: take_attempts
SELECT * FROM sched.take_attempts();

-- name: to_reseal
SELECT * FROM sched.to_reseal();

-- name: beat^
SELECT n.id, b.generation, b.beat FROM sched.beat() b CROSS JOIN installation n;

-- name: plan_report_looks$
SELECT sched.plan_report_looks(:now, :slot);

-- name: plan_domain_checks$
SELECT sched.plan_domain_checks(:now, :slot);

-- name: plan_dns_checks$
SELECT sched.plan_dns_checks(:now, :slot);

-- name: recompute_rollups$
SELECT sched.recompute_rollups(:now);

-- name: pool_demand
SELECT * FROM sched.pool_demand(:now);
