"""Postgres: roles, migrations, row-level security, the doors, and named SQL.

Postgres holds every fact about customers and mail. SQL lives in `migrations/` (schema and definer
functions) and `queries/` (named queries by aggregate).
"""
