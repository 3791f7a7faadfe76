"""The audit chain, pure: digests, sealing, signed checkpoints, and the search for tampering."""
