"""Programs compiled once for all tests of training: they train the same toy again and again."""

from collections.abc import Iterator

import pytest

from tests.compiled_once import compiled_once


@pytest.fixture(scope="session", autouse=True)
def compilation_cache_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = str(tmp_path_factory.mktemp("xla"))
    with compiled_once(directory):
        yield directory
