"""Kinds of taggers, a file each: configuration, files, batches, objective, predictor, start."""
