"""Signing in at OpenID providers: this installation as their relying party. Knows no Flask."""
