"""Thinking budgets at test time, and how variance grows with them."""
