"""Mail providers, one folder each; see README.md for adding one."""

from mailhearth_core.providers.names import oauth_owner, provider_name_for

__all__ = ["oauth_owner", "provider_name_for"]
