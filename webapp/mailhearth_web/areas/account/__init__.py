"""A person's own account: how they sign in, where they are signed in, its end."""
