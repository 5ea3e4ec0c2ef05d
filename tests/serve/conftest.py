"""A server of two models, in this process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serve.fake import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    world.models.warm()
    yield world
    world.models.close()
