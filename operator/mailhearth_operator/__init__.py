"""The Kubernetes operator: turns Workspace and MailboxPool resources into workers and Secrets."""
