"""Word of changes for open pages."""
