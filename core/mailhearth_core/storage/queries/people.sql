-- People, sessions, members and invitations, by the web's login. :now is machine time.

-- name: person^
SELECT * FROM signin.person(:user_id);

-- name: identities
SELECT * FROM signin.identities(:user_id);

-- name: sign_in^
SELECT * FROM signin.sign_in(:issuer, :subject, :email, :verified, :name, :registration_open, :invitation, :ip, :now);

-- name: sign_in_failed^
SELECT signin.sign_in_failed(:issuer, :reason, :ip, :now);

-- name: link$
SELECT signin.link(:user_id, :issuer, :subject, :email, :verified, :now);

-- name: unlink$
SELECT signin.unlink(:user_id, :identity_id, :now);

-- name: delete_account$
SELECT signin.delete_account(:user_id, :now);

-- name: use_local_link^
SELECT * FROM signin.use_local_link(:token_hash, :ip, :now);

-- name: create_session$
SELECT signin.create_session(:token_hash, :user_id, :data, :ip, :agent, :now, :expires_at);

-- name: find_session^
SELECT * FROM signin.find_session(:token_hash, :now, :idle);

-- name: save_session$
SELECT signin.save_session(:session_id, :data);

-- name: sessions
SELECT * FROM signin.sessions(:user_id, :now, :idle);

-- name: end_sessions$
SELECT signin.end_sessions(:session_id, :user_id, :but, :now);

-- name: places
SELECT * FROM signin.places(:user_id, :workspace_id);

-- name: members
SELECT * FROM signin.members(:workspace_id);

-- name: hold_members
SELECT * FROM signin.hold_members(:workspace_id);

-- name: set_member$
SELECT signin.set_member(:workspace_id, :user_id, :role, :actor, :now);

-- name: create_workspace$
SELECT signin.create_workspace(:user_id, :name, :actor, :now);

-- name: rename_workspace$
SELECT signin.rename_workspace(:workspace_id, :name, :actor, :now);

-- name: delete_workspace^
SELECT signin.delete_workspace(:workspace_id, :actor, :now);

-- name: invite$
SELECT signin.invite(:workspace_id, :invited_by, :email, :role, :any_address, :token_hash, :most, :now, :expires_at);

-- name: invitations
SELECT * FROM signin.invitations(:workspace_id);

-- name: withdraw_invitation$
SELECT signin.withdraw_invitation(:workspace_id, :invitation_id, :actor, :now);

-- name: look_at_invitation^
SELECT * FROM signin.look_at_invitation(:token_hash, :now);

-- name: accept_invitation^
SELECT * FROM signin.accept_invitation(:token_hash, :user_id, :now);
