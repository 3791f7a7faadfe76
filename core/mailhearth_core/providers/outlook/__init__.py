"""Outlook.com and Microsoft 365 mailboxes; see docs/providers.md."""
