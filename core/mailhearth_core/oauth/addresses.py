"""Where Google's and Microsoft's endpoints are."""

from __future__ import annotations

GOOGLE_TOKEN_ENDPOINT = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
"""Google, "Using OAuth 2.0 to Access Google APIs" (and its discovery document)."""
MICROSOFT_TOKEN_ENDPOINT = "https://login.microsoftonline.com/common/oauth2/v2.0/token"  # noqa: S105 - an address
"""Microsoft Learn, "Microsoft identity platform and OAuth 2.0 authorization code flow"."""
GOOGLE_AUTHORIZATION_ENDPOINT = "https://accounts.google.com/o/oauth2/v2/auth"
"""Google, "Using OAuth 2.0 for Web Server Applications"."""
MICROSOFT_AUTHORIZATION_ENDPOINT = "https://login.microsoftonline.com/common/oauth2/v2.0/authorize"
"""Microsoft Learn, the same page as the token endpoint's."""
TOKEN_ENDPOINTS = {"gmail": GOOGLE_TOKEN_ENDPOINT, "outlook": MICROSOFT_TOKEN_ENDPOINT}
"""By provider, where nothing else is said."""
