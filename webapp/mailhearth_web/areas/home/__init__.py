"""The first page: it sends people to where they work."""
