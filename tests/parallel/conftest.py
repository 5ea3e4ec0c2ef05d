"""Tests of several processes train the toy of `tests.train`, whose programs they share."""

from tests.train.conftest import compilation_cache_directory

__all__ = ["compilation_cache_directory"]
