"""The Kubernetes API as the operator needs it: a client, what was seen, and keys in Secrets."""
