"""One tagger and many threads, a fork, a pickle."""

import copy
import os
import pickle
import signal
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from distill_jax.errors import UserError
from distill_jax.tagger import Tagger
from tests.tiny import KINDS, SENTENCES, save_tiny


@pytest.fixture(scope="module")
def taggers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tagger]:
    folder = tmp_path_factory.mktemp("models")
    return {
        kind: Tagger.load(save_tiny(folder / kind, kind, name=kind), batch_size=4) for kind in KINDS
    }


@pytest.mark.parametrize("kind", KINDS)
def test_threads_share_a_tagger(taggers: dict[str, Tagger], kind: str) -> None:
    """Eight threads begin at once with other sentences each, programs not compiled included."""
    tagger = taggers[kind]
    inputs = [[*SENTENCES[n % len(SENTENCES) :], *SENTENCES[: n % 3]] for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(tagger.predict, inputs))
    for given, answers in zip(inputs, found, strict=True):
        for one, alone in zip(answers, tagger.predict(given), strict=True):
            assert one.tags == alone.tags and one.spans == alone.spans
            assert one.posteriors is not None and alone.posteriors is not None
            np.testing.assert_array_equal(one.posteriors, alone.posteriors)


def in_a_fork(task: Callable[[], object], seconds: float = 20) -> str:
    """What `task` raises in a child of this process; fails if it does not end in time."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # JAX says that forks may hang
        child = os.fork()
    if child == 0:
        message = "nothing was raised"
        try:
            task()
        except BaseException as error:
            message = f"{type(error).__name__}: {error}"
        os.write(writer, message.encode())
        os._exit(0)
    os.close(writer)
    deadline = time.monotonic() + seconds
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            pytest.fail("the child hangs")
        time.sleep(0.01)
    with os.fdopen(reader) as file:
        return file.read()


def test_a_fork_is_told_at_once(taggers: dict[str, Tagger], tmp_path: Path) -> None:
    tagger = taggers["bilstm"]
    model = save_tiny(tmp_path / "model", "bilstm")
    tasks: list[Callable[[], object]] = [
        lambda: tagger.predict(["to berlin"]),
        lambda: tagger.warm_up([("to", "berlin")]),
        lambda: Tagger.load(model),  # which hangs as well, since the parent has used JAX
    ]
    for task in tasks:
        message = in_a_fork(task)
        for part in ("UserError", f"process {os.getpid()}", "spawn", "Tagger.load in the child"):
            assert part in message
    assert tagger.predict(["to berlin"])  # the parent goes on


def test_a_tagger_says_how_it_is_sent(taggers: dict[str, Tagger]) -> None:
    for send in (pickle.dumps, copy.deepcopy):
        with pytest.raises(UserError, match=r"model directory and call Tagger.load there"):
            send(taggers["bilstm"])
