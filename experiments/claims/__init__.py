"""Claims of the field about entropy and reasoning, each a rule that finished runs are held against: see table.py."""
