"""Mail providers, one folder each; see README.md for adding one."""

from mailhearth_core.providers.names import provider_name_for

__all__ = ["provider_name_for"]
