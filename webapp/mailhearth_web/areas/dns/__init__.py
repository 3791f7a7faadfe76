"""The DNS of the domains: what is there, what is wrong, what to publish."""
