"""The flags that tests set are those that the installed XLA knows."""

import os

import pytest

from tests import xla_flags

KNOWN = "--xla_backend_optimization_level=0"
UNKNOWN = "--xla_cpu_that_no_version_has=1"


def test_an_unknown_flag_is_left_out_and_known_ones_are_kept() -> None:
    assert xla_flags.known([xla_flags.devices(2), UNKNOWN, KNOWN]) == [xla_flags.devices(2), KNOWN]


def test_flags_are_asked_for_once_and_the_answer_reaches_other_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[str, ...]] = []

    def accepts(*flags: str) -> bool:
        asked.append(flags)
        return flags in ((), *((flag,) for flag in xla_flags.WANTED[1:]))

    monkeypatch.setattr(xla_flags, "_accepts", accepts)
    monkeypatch.delenv("DISTILL_JAX_TEST_XLA_FLAGS")
    without_the_first = " ".join(xla_flags.WANTED[1:])
    assert xla_flags.quick_to_compile() == without_the_first
    questions = len(asked)
    assert xla_flags.quick_to_compile() == without_the_first
    assert len(asked) == questions
    assert os.environ["DISTILL_JAX_TEST_XLA_FLAGS"] == without_the_first


def test_a_probe_that_fails_without_flags_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xla_flags, "_PROBE", "raise SystemExit(3)")
    with pytest.raises(RuntimeError, match="cannot ask XLA"):
        xla_flags.known([KNOWN])
