"""SIGINT and SIGTERM: raised once, also where what was raised is lost."""

import contextlib
import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distill_jax import signals
from distill_jax.cli import main
from distill_jax.signals import Terminated, check_stopped, stoppable
from distill_jax.tagger import Tagger
from tests.tiny import save_tiny

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
both = pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


class Swallows:
    """Python loses what is raised in a finaliser, as in a callback of C code."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __del__(self) -> None:
        send(self._number)


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What Python prints because it has to ignore it."""
    ignored: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda event: ignored.append(event.exc_type))
    return ignored


@both
def test_it_is_raised_once(number: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises((KeyboardInterrupt, Terminated)), stoppable():
        try:
            send(number)
        finally:
            send(number)  # while the first one is being tidied up after
    assert signal.getsignal(number) is before
    check_stopped()  # outside nothing is left of it


@both
def test_what_was_lost_is_raised_at_the_next_safe_place(number: int, lost: list[Any]) -> None:
    with pytest.raises((KeyboardInterrupt, Terminated)), stoppable():
        check_stopped()
        Swallows(number)
        assert lost == []  # no traceback of what is raised again
        with pytest.raises((KeyboardInterrupt, Terminated)):
            check_stopped()
        check_stopped()


@both
def test_an_import_is_not_interrupted(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = (
        "import os, time",
        f"os.kill(os.getpid(), {int(number)})",
        "time.sleep(0.2)",
        "whole = True",
    )
    (tmp_path / "interrupted_module.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises((KeyboardInterrupt, Terminated)), stoppable():
        importlib.import_module("interrupted_module")

        time.sleep(10)
    assert sys.modules.pop("interrupted_module").whole


def test_other_exceptions_that_are_lost_are_said(lost: list[Any]) -> None:
    class Fails:
        def __del__(self) -> None:
            raise ZeroDivisionError

    with stoppable():
        Fails()
    assert lost == [ZeroDivisionError]


def test_another_interrupt_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, Any]] = []
    with stoppable():
        with contextlib.suppress(KeyboardInterrupt):
            send(signal.SIGINT)
        monkeypatch.setattr(signals, "_AT_ONCE_AFTER", -1)
        record = lambda _, number: sent.append((number, signal.getsignal(number)))  # noqa: E731
        monkeypatch.setattr(os, "kill", record)
        signals._handle(signal.SIGTERM, None)  # changes nothing, as often as it comes
        signals._handle(signal.SIGINT, None)
    assert sent == [(signal.SIGINT, signal.SIG_DFL)]


def test_ignored_signals_stay_ignored_and_threads_change_nothing() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stoppable():
            send(signal.SIGINT)
            check_stopped()
    finally:
        signal.signal(signal.SIGINT, before)
    handlers: list[Any] = []

    def enter() -> None:
        with stoppable():
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert handlers == [before]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    save_tiny(folder / "model", "bilstm")
    (folder / "in.txt").write_text("to berlin\non may 4\n" * 4)
    (folder / "gold.conll").write_text("to O\nberlin B-city\n\n")
    return folder


COMMANDS: dict[str, Callable[[Path, Path], list[str]]] = {
    "predict": lambda files, out: [
        *("predict", "--input", f"{files}/in.txt", "--output", f"{out}/out.jsonl"),
    ],
    "label": lambda files, out: [
        *("label", "--input", f"{files}/in.txt", "--output", f"{out}/store", "--shard_size", "1"),
    ],
    "evaluate": lambda files, out: [
        *("evaluate", "--data", f"{files}/gold.conll", "--json", f"{out}/out.json"),
    ],
}


@both
@pytest.mark.parametrize("swallowed", [False, True])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_tidies_up(
    name: str,
    swallowed: bool,
    number: int,
    files: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    lost: list[Any],
) -> None:
    decode = Tagger.decode

    def interrupted(*args: Any) -> Any:
        if swallowed:
            Swallows(number)
        else:
            send(number)
        return decode(*args)

    monkeypatch.setattr(Tagger, "decode", interrupted)
    command = [*COMMANDS[name](files, tmp_path), "--model", f"{files}/model"]
    assert main(command) == CODES[signal.Signals(number)]
    assert lost == []
    assert capsys.readouterr().err.count("\n") == 1
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert left <= {"store.json", "labels.txt"}  # a store that is gone on with
    monkeypatch.undo()
    assert main(command) == 0
