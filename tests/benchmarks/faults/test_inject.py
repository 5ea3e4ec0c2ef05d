"""The injector of faults notices what is not as it must be."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.faults import inject
from benchmarks.faults.inject import Record, fill_disks, run_whole, send_signals
from benchmarks.faults.jobs import START, Job, Predict, sizes

CONTENT = "whole" * 20
WRITES = {
    # In place, so that half of a file stands under its own name for a while.
    "careless": "half = len(text) // 2; file = open(path, 'w'); file.write(text[:half]); file.flush()\n"
    "time.sleep(0.2); file.write(text[half:]); file.close()",
    # Aside, but what is aside stays where the process is ended.
    "untidy": "aside = os.path.join(folder, '.out.tmp-1'); open(aside, 'w').write(text)\n"
    "time.sleep(0.2); os.replace(aside, path)",
    "traceback": "open(path + '.x', 'w').write(text); time.sleep(0.1); raise OSError('full')",
}


class Fake(Job):
    """A process that starts at once."""

    name, output = "fake", "out"

    def __init__(self, how: str) -> None:
        super().__init__(Path())
        self._how = how

    def start(self, folder: Path, *, no_file_above: int | None = None) -> "subprocess.Popen[str]":
        folder.mkdir(parents=True, exist_ok=True)
        limit = START.partition("from distill_jax")[0]
        code = f"{limit}\nimport os, time\ntext = {CONTENT!r}\nfolder = {str(folder)!r}\n"
        code += f"path = os.path.join(folder, 'out')\n{WRITES[self._how]}"
        command = [sys.executable, "-S", "-c", code, str(no_file_above)]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    def finished(self, folder: Path) -> object | None:
        path = folder / "out"
        return path.read_text() if path.exists() else None


def record() -> Record:
    return Record(time.monotonic() + 60)


def test_half_a_file_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inject, "SIGNALS", (signal.SIGKILL,))
    job, rec = Fake("careless"), record()
    whole, seconds = run_whole(job, tmp_path / "whole")
    assert whole == CONTENT and seconds > 0.2
    send_signals(job, tmp_path / "signal", (whole, seconds), 12, random.Random(0), rec)
    assert any("not with the bytes of one run" in fault for fault in rec.faults)
    assert rec.counts["fake"]["went on to the same bytes"] == 1


def test_temporary_files_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inject, "SIGNALS", (signal.SIGTERM,))
    job, rec = Fake("untidy"), record()
    whole = run_whole(job, tmp_path / "whole")
    send_signals(job, tmp_path / "signal", whole, 12, random.Random(0), rec)
    assert rec.faults and all("left" in fault for fault in rec.faults)


def test_a_disk_that_is_not_said_to_be_full_is_noticed(tmp_path: Path) -> None:
    job, rec = Fake("traceback"), record()
    fill_disks(job, tmp_path / "disk", (CONTENT, [10, 50]), 2, rec)
    # Python 3.13 says first that the file could not be closed.
    assert sum("exit code 1: " in fault and "Traceback" in fault for fault in rec.faults) == 2
    assert "does not go on to the same end" in rec.faults[-1]


def test_sizes_of_every_kind_of_write(tmp_path: Path) -> None:
    for size in (7, 30, 100):
        (tmp_path / str(size)).write_bytes(b"x" * size)
    assert sizes(tmp_path) == [0, 7, 25, 30, 50, 75]


def test_a_real_job_has_a_command_of_its_own(tmp_path: Path) -> None:
    job = Predict(tmp_path / "files")
    assert job.command(tmp_path)[0] == "predict" and job.finished(tmp_path) is None
