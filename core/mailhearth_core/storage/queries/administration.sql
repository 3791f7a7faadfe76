-- What administrators see and do, by the login `admin`: views and functions of its schema alone.

-- name: installation^
SELECT id, environment, sandbox, generation, business_at FROM admin.installation;

-- name: states
SELECT state, phase, consented, connected, n FROM admin.network_states;

-- name: days
SELECT * FROM admin.network_days WHERE day > :today::date - :days::integer AND day <= :today::date + 1 ORDER BY day;

-- name: providers
SELECT provider, sum(inbox)::integer AS inbox, sum(junk)::integer AS junk, sum(other)::integer AS other,
  sum(missing)::integer AS missing, sum(unobservable)::integer AS unobservable
FROM admin.network_providers WHERE day > :today::date - :days::integer AND day <= :today::date + 1
GROUP BY provider ORDER BY provider;

-- name: open_questions^
SELECT uncertain, failed FROM admin.open_questions(:since);

-- name: workspace_counts
SELECT state, count(*)::integer AS n FROM admin.workspace_cards GROUP BY state;

-- name: blocked_domains
SELECT workspace_id, domain, reason FROM admin.blocked_domains(:now);

-- name: demand
SELECT * FROM admin.demand(:now) ORDER BY worker_group;

-- name: worker_groups
SELECT name, pools FROM admin.worker_groups ORDER BY name;

-- name: leases
SELECT owner, mailboxes, workspaces, first_ends_at, last_ends_at FROM admin.leases ORDER BY owner LIMIT :limit;

-- name: workspaces
SELECT *, count(*) OVER ()::integer AS total FROM admin.workspace_cards
WHERE (:word = '' OR strpos(name, lower(:word)) > 0 OR workspace_id::text = :word)
  AND (:state = '' OR state = :state)
ORDER BY name, workspace_id LIMIT :limit OFFSET :offset;

-- name: workspace^
SELECT * FROM admin.workspace_cards WHERE workspace_id = :workspace_id;

-- name: workspace_states
SELECT state, phase, consented, connected, n FROM admin.workspace_states WHERE workspace_id = :workspace_id;

-- name: workspace_days
SELECT * FROM admin.workspace_days WHERE workspace_id = :workspace_id AND day > :today::date - :days::integer ORDER BY day;

-- name: workspace_pools
SELECT * FROM admin.pools WHERE workspace_id = :workspace_id ORDER BY name LIMIT :limit;

-- name: pools
SELECT *, count(*) OVER ()::integer AS total FROM admin.pools
WHERE :word = '' OR strpos(name, lower(:word)) > 0 OR strpos(workspace, lower(:word)) > 0
ORDER BY workspace, name, id LIMIT :limit OFFSET :offset;

-- name: domains
SELECT * FROM admin.domains(:now, :word, :blocked, :limit, :offset);

-- name: failed_actions
SELECT * FROM admin.failed_actions(:now, :kind, :word, :limit, :offset);

-- name: errors
SELECT *, count(*) OVER ()::integer AS total FROM admin.errors
ORDER BY mailboxes DESC, last_at DESC, text LIMIT :limit OFFSET :offset;

-- name: people
SELECT *, count(*) OVER ()::integer AS total FROM admin.people
WHERE (:word = '' OR strpos(lower(email), lower(:word)) > 0 OR strpos(lower(name), lower(:word)) > 0
    OR id::text = :word)
  AND (NOT :admins OR granted_at IS NOT NULL)
ORDER BY granted_at IS NULL, email, id LIMIT :limit OFFSET :offset;

-- name: suspend_workspace$
SELECT admin.suspend_workspace(:user_id, :workspace_id, :reason, :at);

-- name: resume_workspace$
SELECT admin.resume_workspace(:user_id, :workspace_id, :reason, :at);

-- name: wish_retry$
SELECT admin.wish_retry(:user_id, :workspace_id, :action_id, :now, :at);
