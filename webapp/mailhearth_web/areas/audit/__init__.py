"""A workspace's audit trail: looked through and taken along."""
