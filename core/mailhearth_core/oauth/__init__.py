"""OAuth 2.0 towards mail providers: the token endpoint (RFC 6749) and what its answers mean."""
