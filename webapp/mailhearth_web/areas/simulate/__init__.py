"""A policy tried in virtual time."""
