"""Ways of making data to learn from."""
