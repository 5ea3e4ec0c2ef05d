"""Self-contained HTML pages: one file, no script, nothing loaded from anywhere."""
