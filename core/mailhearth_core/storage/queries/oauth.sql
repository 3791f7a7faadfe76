-- The refresh tokens of a worker's own workspace.

-- name: credential_generation$
SELECT generation FROM sealed_credentials
WHERE workspace_id = :workspace_id AND mailbox_id = :mailbox_id AND field = 'oauth_refresh_token';

-- name: claim_refresh^
-- One refresh at a time for each mailbox, over all workers. A claim whose holder died runs out by itself.
UPDATE sealed_credentials
SET refresh_claim = :claim, refresh_until = clock_timestamp() + make_interval(secs => :seconds)
WHERE workspace_id = :workspace_id AND mailbox_id = :mailbox_id AND field = 'oauth_refresh_token'
  AND (refresh_until IS NULL OR refresh_until < clock_timestamp())
RETURNING key_version, generation, sealed;

-- name: keep_rotated$
-- Nothing newer may be written over. A generation that has moved on while the claim is still ours was a mere
-- re-seal of the token that was just spent; who connects the mailbox anew takes the claim away.
UPDATE sealed_credentials
SET sealed = :sealed, key_version = :key_version, generation = generation + 1, sealed_at = :now
WHERE workspace_id = :workspace_id AND mailbox_id = :mailbox_id AND field = 'oauth_refresh_token'
  AND (generation = :generation OR refresh_claim = :claim)
RETURNING generation;

-- name: end_refresh!
UPDATE sealed_credentials SET refresh_claim = NULL, refresh_until = NULL
WHERE workspace_id = :workspace_id AND mailbox_id = :mailbox_id AND field = 'oauth_refresh_token'
  AND refresh_claim = :claim;

-- name: active_key^
SELECT version, public_key FROM key_versions WHERE workspace_id = :workspace_id AND state = 'active';

-- name: keep_granted!
-- The refresh token takes the place of the code, which is spent.
UPDATE connection_attempts SET sealed = :sealed, key_version = :key_version
WHERE workspace_id = :workspace_id AND id = :id;
