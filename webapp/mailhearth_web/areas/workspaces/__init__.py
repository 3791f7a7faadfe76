"""Making, renaming, exporting and deleting workspaces."""
