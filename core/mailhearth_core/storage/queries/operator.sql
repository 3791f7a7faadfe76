-- The operator's calls, in a cluster and locally alike.

-- name: open_commands
SELECT * FROM warden.open_commands();

-- name: finish_command
SELECT warden.finish_command(:workspace_id, :id, :state, :outcome, :at);

-- name: workspaces
SELECT * FROM warden.workspaces();

-- name: set_workspace_state
SELECT warden.set_workspace_state(:workspace_id, :state, :reason);

-- name: key_versions
SELECT * FROM warden.key_versions(:workspace_id);

-- name: add_key_version
SELECT warden.add_key_version(:workspace_id, :version, :public_key, :fingerprint, :at);

-- name: activate_key
SELECT warden.activate_key(:workspace_id, :version, :at);

-- name: archive_keys
SELECT warden.archive_keys(:workspace_id, :at) AS version;

-- name: mark_key_destroyed$
SELECT warden.mark_key_destroyed(:workspace_id, :version, :at);

-- name: abandon_key^
SELECT * FROM warden.abandon_key(:workspace_id, :version, :reason, :actor, :at);

-- name: create_pool$
SELECT warden.create_pool(:workspace_id, :name, :policy, :scope, :worker_group, :managed_by, :external,
  :external_generation, :at);

-- name: pool^
SELECT * FROM warden.pool(:workspace_id, :pool_id);

-- name: set_pool$
SELECT warden.set_pool(:workspace_id, :pool_id, :seen, :policy, :scope);

-- name: ensure_worker_login$
SELECT warden.ensure_worker_login(:workspace_id, :verifier);

-- name: drop_worker_login
SELECT warden.drop_worker_login(:workspace_id);

-- name: purging$
SELECT warden.purging(:workspace_id, :now, :seconds);

-- name: delete_workspace_batch$
SELECT warden.delete_workspace_batch(:workspace_id, :batch);

-- name: end_workspace
SELECT warden.end_workspace(:workspace_id, :at);

-- name: retry_action$
SELECT warden.retry_action(:workspace_id, :action_id, :machine);

-- name: bind_workspace^
SELECT * FROM warden.bind_workspace(:ref, :generation, :managed_by, :known, :at);

-- name: adopt_workspace$
SELECT warden.adopt_workspace(:workspace_id, :ref);

-- name: binding^
SELECT * FROM warden.binding(:workspace_id);

-- name: bindings
SELECT * FROM warden.bindings();

-- name: rest_workspace$
SELECT warden.rest_workspace(:workspace_id, :reason, :reasons);

-- name: wake_workspace$
SELECT warden.wake_workspace(:workspace_id, :reason, :reasons);

-- name: project_pool^
SELECT * FROM warden.project_pool(:workspace_id, :name, :policy, :scope, :worker_group, :managed_by, :ref, :generation,
  :resting, :at);

-- name: release_pool
SELECT warden.release_pool(:installation, :namespace, :name, :at);

-- name: pool_places
SELECT * FROM warden.pool_places(:installation);

-- name: declared
SELECT * FROM warden.declared(:workspace_id, :pool_id);

-- name: note_declared
SELECT warden.note_declared(:workspace_id, :mailbox_id, :secret, :digest);

-- name: pool_binding^
SELECT * FROM warden.pool_binding(:workspace_id, :pool_id);

-- name: group_workspaces
SELECT * FROM warden.group_workspaces(:worker_group);

-- name: demand
SELECT * FROM sched.pool_demand(:now);

-- name: clock^
SELECT business_at, rate FROM business_clock;

-- name: lock_workspace
-- Held to the end of the transaction: keys and logins of one workspace are made by one operator at a time.
SELECT pg_advisory_xact_lock(hashtextextended(:workspace_id::text, 0));
