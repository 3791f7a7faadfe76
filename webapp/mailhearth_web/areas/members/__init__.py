"""Who is in a workspace, and who was invited."""
