"""Whether this process and what it needs are well, and whom to tell about a weakness."""
