"""A teacher's labels: the store, weights by confidence, several teachers."""
