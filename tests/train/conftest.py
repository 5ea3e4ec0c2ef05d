"""Programs compiled once for all tests of training: they train the same toy again and again."""

from collections.abc import Iterator

import pytest

from tests.compiled_once import compiled_once


@pytest.fixture(scope="session")
def compilation_cache_directory(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("xla"))


@pytest.fixture(scope="module", autouse=True)
def _compiled_once(compilation_cache_directory: str) -> Iterator[None]:
    """For these tests alone: others in the process may fill the disk, or count what is compiled."""
    with compiled_once(compilation_cache_directory):
        yield
