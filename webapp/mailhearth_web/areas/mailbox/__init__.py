"""One mailbox: its ramp, placement, health, mail, story, and why."""
