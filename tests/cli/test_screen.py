"""Short lines for people, everything else to a file."""

import os
import pty
import re
import sys
from pathlib import Path

import pytest

from distill_jax.cli.output import progress
from distill_jax.cli.screen import Screen


def test_lines_are_short_and_commands_whole(capsys: pytest.CaptureFixture[str]) -> None:
    Screen().say("word " * 50)
    Screen().command("use it", "x" * 120)
    *lines, command = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100 and " ".join(lines).split() == ["word"] * 50
    assert command == "use it: " + "x" * 120


def test_what_a_step_says_goes_to_a_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "fit" / "log.txt"
    with pytest.raises(RuntimeError), Screen().working("step", log):
        print("from Python", file=sys.stderr)
        os.write(2, b"from C\n")
        raise RuntimeError
    print("after", file=sys.stderr)
    assert capfd.readouterr().err == "after\n"
    assert log.read_text().splitlines() == ["== step", "from Python", "from C"]


def test_a_terminal_shows_the_last_line(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    before = os.dup(2)
    os.dup2(theirs, 2)
    try:
        with Screen().working("step", tmp_path / "log.txt"):
            print("x" * 300, file=sys.stderr)
    finally:
        os.dup2(before, 2)
        os.close(before)
    shown = b""
    while not shown.endswith(b"\r\x1b[K"):
        shown += os.read(ours, 4096)
    assert b"step  xxx" in shown and b"x" * 101 not in shown


@pytest.mark.parametrize(("total", "wanted"), [(None, "1,234 sentences"), (2000, "1234/2000")])
def test_what_is_done_is_counted_and_no_total_is_made_up(
    total: int | None,
    wanted: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress("predict", total) as advance:
        advance(1234)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().err)
    assert wanted in shown and "?" not in shown
