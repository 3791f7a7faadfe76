-- What only the command line may do about people. :now is machine time.

-- name: find_people
SELECT * FROM signin.find_people(:word, :issuer, :subject);

-- name: admins
SELECT * FROM signin.admins();

-- name: grant_admin$
SELECT signin.grant_admin(:user_id, :actor, :now);

-- name: revoke_admin$
SELECT signin.revoke_admin(:user_id, :actor, :now);

-- name: put_member$
SELECT signin.put_member(:workspace_id, :user_id, :role, :actor, :now);

-- name: make_local_link$
SELECT signin.make_local_link(:user_id, :token_hash, :actor, :now, :expires_at);
