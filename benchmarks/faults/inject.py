"""Injects full disks and signals into `predict`, `label` and a tiny `train`, and goes on.

    python -m benchmarks.faults.inject --signals 200 --disks 12 --seed 0 [--minutes 60] [--json FILE]

A full disk is a limit on the size of files (RLIMIT_FSIZE) at each of the sizes that an undisturbed run
writes, so that every kind of write fails in its turn; of many sizes `--disks` are tried. A signal
(SIGTERM, SIGINT or SIGKILL, drawn by the seed) comes at a random moment of a run. After each fault:

* the exit code is that of the fault: 2 for a disk, 143, 130 or the signal itself;
* nothing is said beyond one line for a disk, and there is no traceback;
* what looks whole is whole, byte for byte what an undisturbed run writes;
* no temporary file is left, but by SIGKILL and a signal that came before the command began;

and the same command goes on from there until the next fault, and at last to the end, with the same bytes.
Exit code 1 if anything was otherwise. Moments depend on the clock, so a seed repeats the signals,
not what they met.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.faults.jobs import JOBS, Job, make_files, removed, sizes, temporary_files, wrong

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)
TIDY = {signal.SIGTERM: 143, signal.SIGINT: 130}


class Record:
    """What happened, and what should not have."""

    def __init__(self, deadline: float) -> None:
        self.counts: dict[str, Counter[str]] = {}
        self.faults: list[str] = []
        self.deadline = deadline

    def add(self, job: Job, what: str) -> None:
        """Counts something that may happen."""
        self.counts.setdefault(job.name, Counter())[what] += 1

    def fault(self, job: Job, where: str, reason: str) -> None:
        """Notes something that may not."""
        self.faults.append(f"{job.name}, {where}: {reason}")
        print(self.faults[-1], file=sys.stderr)

    def late(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() > self.deadline


def run_whole(job: Job, folder: Path) -> tuple[object, float]:
    """What an undisturbed run leaves, and the seconds that it takes."""
    begin = time.monotonic()
    process = job.start(folder)
    _, said = process.communicate()
    whole = job.finished(folder)
    if process.returncode or whole is None:
        raise SystemExit(f"{job.name} fails without a fault ({process.returncode}): {said}")
    return whole, time.monotonic() - begin


def fill_disks(
    job: Job, folder: Path, whole: tuple[object, list[int]], n: int, rec: Record
) -> None:
    """Runs under a full disk of growing size, each going on from the one before, and to the end."""
    of_files = whole[1]
    picked = [of_files[i * len(of_files) // n] for i in range(n)] if len(of_files) > n else of_files
    for size in picked:
        if rec.late():
            return
        process = job.start(folder, no_file_above=size)
        _, said = process.communicate()
        where = f"no file above {size} bytes"
        rec.add(job, f"disk: exit code {process.returncode}")
        if process.returncode not in (0, 2):
            rec.fault(job, where, f"exit code {process.returncode}: {said[-2000:]}")
        # A run says its progress with the time in brackets.
        lines = [line for line in said.splitlines() if not line.startswith("[")]
        if process.returncode == 2 and (len(lines) != 1 or "Traceback" in said):
            rec.fault(job, where, f"more than one line: {said[-2000:]}")
        check(job, folder, whole[0], where, rec)
    finish(job, folder, whole[0], "disks", rec)


def send_signals(
    job: Job, folder: Path, whole: tuple[object, float], n: int, draw: random.Random, rec: Record
) -> None:
    """Sends signals at random moments; a run that ends first is followed by a new one."""
    for number in range(n):
        if rec.late():
            break
        process = job.start(folder)
        which = draw.choice(SIGNALS)
        moment = draw.uniform(0, 1.05 * whole[1])
        where = f"signal {number}, {which.name} after {moment:.2f} s"
        try:
            process.wait(moment)
        except subprocess.TimeoutExpired:
            process.send_signal(which)
        _, said = process.communicate()
        code = process.returncode
        rec.add(job, f"{which.name}: exit code {code}")
        if code not in (0, TIDY.get(which), -which):
            rec.fault(job, where, f"exit code {code}: {said[-2000:]}")
        if "Traceback" in said:
            rec.fault(job, where, f"a traceback: {said[-2000:]}")
        # By the signal itself: SIGKILL, or before the command began, when there is nothing to tidy up.
        if code != -signal.SIGKILL and (left := temporary_files(folder)):
            rec.fault(job, where, f"left {left}")
        if code == -signal.SIGKILL:
            for path in temporary_files(folder):
                Path(path).unlink() if Path(path).is_file() else removed(Path(path))
        check(job, folder, whole[0], where, rec)
        if code == 0:
            rec.add(job, "ended before the signal")
            removed(folder)
    finish(job, folder, whole[0], "signals", rec)


def check(job: Job, folder: Path, whole: object, where: str, rec: Record) -> None:
    """Notes what looks whole and is not."""
    if reason := wrong(job, folder, whole):
        rec.fault(job, where, reason)


def finish(job: Job, folder: Path, whole: object, where: str, rec: Record) -> None:
    """Goes on to the end, without a fault, and compares."""
    process = job.start(folder)
    _, said = process.communicate()
    if process.returncode or job.finished(folder) != whole:
        rec.fault(job, f"after {where}", f"does not go on to the same end: {said[-2000:]}")
    else:
        rec.add(job, "went on to the same bytes")


def main() -> int:
    """Runs everything; 1 if something was not as it must be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--signals", type=int, default=30, help="in all; default: %(default)s")
    parser.add_argument("--disks", type=int, default=6, help="sizes a job; default: %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--only", nargs="+", help="predict, label, train")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    # A shell that runs this in the background lets it ignore Ctrl-C, and what it starts as well.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    begin = time.monotonic()
    rec, draw = Record(begin + 60 * options.minutes), random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        make_files(work / "files", options.seed)
        jobs = [make(work / "files") for make in JOBS]
        jobs = [job for job in jobs if options.only is None or job.name in options.only]
        for job in jobs:
            run_whole(job, work / job.name / "first")  # which compiles
            whole, seconds = run_whole(job, work / job.name / "whole")
            of_files = sizes(work / job.name / "whole")
            fill_disks(job, work / job.name / "disk", (whole, of_files), options.disks, rec)
            signals = options.signals // len(jobs)
            send_signals(job, work / job.name / "signal", (whole, seconds), signals, draw, rec)
            print(f"{job.name}: {dict(rec.counts.get(job.name, {}))}", file=sys.stderr)
    result: dict[str, Any] = {
        "seed": options.seed,
        "minutes": round((time.monotonic() - begin) / 60, 1),
        "in_time": not rec.late(),
        "jobs": {name: dict(sorted(counts.items())) for name, counts in rec.counts.items()},
        "faults": rec.faults,
    }
    text = json.dumps(result, indent=2)
    print(text)
    if options.json:
        Path(options.json).write_text(text + "\n")
    return 1 if rec.faults else 0


if __name__ == "__main__":
    sys.exit(main())
