"""A student fitted to a user's own cameras, without labels."""
