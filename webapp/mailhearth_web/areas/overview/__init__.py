"""A workspace today: its mailboxes, mail, placement, and what is in the way."""
