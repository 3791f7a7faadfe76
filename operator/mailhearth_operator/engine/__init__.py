"""Reconciling: keys on a queue, `ensure` for each kind, the outbox and demand beside it."""
