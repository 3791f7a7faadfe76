"""A domain's DNS as receivers of its mail see it: what is there, what is wrong, what to publish."""
