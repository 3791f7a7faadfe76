"""Pools and their policies."""
