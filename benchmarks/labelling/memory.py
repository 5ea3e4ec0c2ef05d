"""What `distill-jax label` takes for a large pool beside a small one: peak memory, sentences a second.

    python benchmarks/labelling/memory.py --sentences 2000000 --json memory.json

Writes sentences of 4 to 12 words, a fiftieth of them twice, into a file, and labels the first 20,000 and
then all of them with a BiLSTM of random weights, each in a process of its own. Peak memory is the
largest resident set that the system counted for the process. The rate is measured from start to
end, Python and compilation included (no program comes from a cache), and from the first shard that
is there to the last. A pool of 2,000,000 needs 2 GB of disk for sentences and labels.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a file: what is imported from is the checkout
    sys.path[0] = str(Path(__file__).resolve().parents[2])

# Nothing that imports JAX: a child's peak counts what its parent held when it was started.
from benchmarks.common.tables import at_least, at_most

WORDS = 5_000
FEW = 20_000
MEMORY, RATE = 1.2, 1.0


def write_pool(path: Path, count: int) -> None:
    """Writes `count` lines; every fiftieth repeats the one before it."""
    dice = random.Random(0)
    words = [f"word{number}" for number in range(WORDS)]
    with path.open("w") as file:
        line = ""
        for number in range(count):
            if number % 50 != 49:
                line = " ".join(dice.choices(words, k=dice.randint(4, 12))) + "\n"
            file.write(line)


def save_model(directory: str) -> None:
    """A BiLSTM of the embedded data's labels; run in a process of its own."""
    from benchmarks.common.tagger import save_random_bilstm
    from distill_jax.data.demo import LABELS

    words = [[f"word{number}"] for number in range(WORDS)]
    save_random_bilstm(Path(directory), words, LABELS, dim=8)


def measure(model: Path, pool: Path, store: Path) -> dict[str, Any]:
    """Labels a pool in another process: MiB at its peak, seconds, sentences a second."""
    command = [sys.executable, "-m", "distill_jax", "label", "--model", str(model)]
    command += ["--input", str(pool), "--output", str(store), "--batch_size", "128"]
    start = time.monotonic()
    # A program that is compiled takes more memory than one from the cache, and the pools share theirs.
    environment = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"}
    process = subprocess.Popen(command, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with code {process.returncode}")
    header = json.loads((store / "store.json").read_text())
    sentences, shard_size = header["sentences"], header["shard_size"]
    done = sorted(path.stat().st_mtime for path in store.glob("part-*.array_record"))
    return {
        "sentences": sentences,
        "peak_mib": usage.ru_maxrss / (1 << (20 if sys.platform == "darwin" else 10)),
        "seconds": seconds,
        "sentences_per_second": sentences / seconds,
        # Without start, compilation and the first shard.
        "sentences_per_second_later": (sentences - shard_size) / (done[-1] - done[0]),
    }


def run(sentences: int, folder: Path) -> dict[str, Any]:
    """Both measurements, and their ratios beside the targets."""
    subprocess.run([sys.executable, __file__, "--save_model", str(folder / "model")], check=True)
    found = {}
    for name, count in (("few", FEW), ("many", sentences)):
        write_pool(folder / f"{name}.txt", count)
        found[name] = measure(folder / "model", folder / f"{name}.txt", folder / name)
    few, many = found["few"], found["many"]

    def ratio(name: str) -> float:
        return many[name] / few[name]

    return {
        **found,
        "targets": [
            at_most("peak memory, many : few", ratio("peak_mib"), MEMORY),
            at_least("rate, start to end", ratio("sentences_per_second"), RATE),
            at_least("rate after the first shard", ratio("sentences_per_second_later"), RATE),
        ],
    }


def _lines(result: dict[str, Any]) -> Iterator[str]:
    for name in ("few", "many"):
        one = result[name]
        yield (
            f"{one['sentences']:,} sentences: {one['peak_mib']:,.0f} MiB, {one['seconds']:,.1f} s, "
            f"{one['sentences_per_second']:,.0f} sentences/s, "
            f"{one['sentences_per_second_later']:,.0f} after the first shard"
        )
    for entry in result["targets"]:
        met = "met" if entry["met"] else "missed"
        yield f"{entry['what']}: {entry['value']:.3f} ({entry['bound']} {entry['target']}: {met})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sentences", type=int, default=200_000)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--folder", metavar="DIR", help="where pools and stores lie meanwhile")
    parser.add_argument("--save_model", metavar="DIR", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.save_model:
        save_model(options.save_model)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        result = run(options.sentences, Path(folder))
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=2) + "\n")
    print("\n".join(_lines(result)))


if __name__ == "__main__":
    main()
