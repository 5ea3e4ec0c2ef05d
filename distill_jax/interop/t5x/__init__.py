"""Checkpoints of t5x, read and written without t5x."""
