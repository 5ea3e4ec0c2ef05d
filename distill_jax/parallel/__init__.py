"""The device mesh, and several processes."""
