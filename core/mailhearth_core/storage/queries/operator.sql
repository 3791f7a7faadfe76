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
