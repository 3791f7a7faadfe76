-- Mailboxes that are connected by OAuth. The refresh token is sealed for this endpoint and this client; access
-- tokens are never stored.

ALTER TABLE mailboxes
  ADD COLUMN oauth_token_endpoint text,
  ADD COLUMN oauth_client_id text,
  ADD CONSTRAINT mailboxes_oauth_complete
    CHECK (auth <> 'oauth' OR (oauth_token_endpoint IS NOT NULL AND oauth_client_id IS NOT NULL));

-- Who is at the token endpoint with this credential, and until when that counts. Machine time.
ALTER TABLE sealed_credentials
  ADD COLUMN refresh_claim uuid,
  ADD COLUMN refresh_until timestamptz;

GRANT UPDATE (refresh_claim, refresh_until) ON sealed_credentials TO @worker@;
