"""The domain: warmup, mail, sealing, storage. No web, queue or Kubernetes framework."""
