"""Mailboxes: the list, connecting them, their settings."""
