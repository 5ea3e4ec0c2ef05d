"""What a Gin file runs, and how one is started."""
