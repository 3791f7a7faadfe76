"""How fast Mailhearth is, beside what it stands on: `make bench` (see bench/README.md)."""
