"""Gmail and Google Workspace mailboxes; see docs/providers.md."""
