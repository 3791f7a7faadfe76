"""Importing mailboxes from a CSV file."""
