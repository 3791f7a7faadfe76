"""The scheduler: sizes and matches days, wakes workers, reclaims and settles.

It sees all tenants, through named functions only, and holds no keys. Several replicas are safe:
each step of a pass runs in a transaction under an advisory lock, and every write is conditional.
"""
