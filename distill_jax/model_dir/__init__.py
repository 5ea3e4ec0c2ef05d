"""Model directories: what leaves training and what a tagger is loaded from."""
