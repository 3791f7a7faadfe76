-- The scheduler's calls for learning: it holds EXECUTE on these functions and nothing else.

-- name: week_placements
SELECT * FROM sched.week_placements(:workspaces, :mailboxes, :days);

-- name: note_phases$
SELECT sched.note_phases(:rows);

-- name: sensor_counts
SELECT * FROM sched.sensor_counts(:since, :junk, :percent);

-- name: set_sensors$
SELECT sched.set_sensors(:excluded);

-- name: trim_days$
SELECT sched.trim_days(:now);

-- name: mailbox_states
SELECT * FROM sched.mailbox_states();
