"""The installation, for its administrators."""
