"""Others' checkpoints."""
