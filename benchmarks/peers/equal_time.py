"""`distill-jax fit` beside spaCy's `ner` and a BERT fine-tuned in transformers, with as much processor time.

    python benchmarks/peers/equal_time.py my_data/intents --unlabelled pool.txt \\
        --teacher /models/all-MiniLM-L6-v2 --vectors glove.6B.100d.txt --out runs/equal --json equal.json

The same labelled sentences for all three; text, a teacher and vectors are what `fit` can use and the others
cannot (the BERT is the same). `fit` goes first, with `--minutes`; what it took of all cores, as processor
time, is what each of the others may take to train, in a process of its own. They keep what is best on dev,
as `fit` does. F1 is conlleval's, on the test split, or on dev where there is none.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

if __package__ in (None, ""):  # run as a file: what is imported from is the checkout
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from rich.console import Console
from rich.table import Table

from benchmarks.common.environment import environment
from distill_jax.files import write_json
from distill_jax.tagging.metrics import SpanCounts

HERE = Path(__file__).parent


def processor_seconds(command: Sequence[str]) -> float:
    """Runs a program to its end; what it and its children took, user and system."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def f1_of(gold: Path, predicted: Path) -> float:
    """Of two files of a sentence a line, with `tags`."""
    counts = SpanCounts()
    with gold.open() as right, predicted.open() as given:
        for one, other in zip(right, given, strict=True):
            counts.update(json.loads(one)["tags"], json.loads(other)["tags"])
    return float(counts.result()["f1"])


def peer(
    name: str,
    python: str,
    splits: dict[str, Path],
    predicted: Path,
    seconds: float,
    more: Sequence[str],
) -> dict[str, float]:
    """Trains a peer for so many processor seconds; its line of the table."""
    files = [str(splits[split]) for split in ("train", "valid", "test")]
    command = [python, str(HERE / f"{name}.py"), *files, str(predicted), f"{seconds:.0f}", *more]
    took = processor_seconds(command)
    return {"f1": f1_of(splits["test"], predicted), "processor_seconds": took}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", help="as for `distill-jax fit`")
    parser.add_argument("--unlabelled", nargs="+", default=[])
    parser.add_argument(
        "--teacher", required=True, help="a BERT, which the peer in transformers starts from"
    )
    parser.add_argument("--vectors")
    parser.add_argument(
        "--minutes", type=float, default=20.0, help="of `fit`; default: %(default)g"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", required=True, help="what `fit` leaves")
    parser.add_argument(
        "--seconds", type=float, help="of processor time; `fit` is taken as it is in --out"
    )
    parser.add_argument(
        "--torch_python", default=sys.executable, help="a Python with torch and transformers"
    )
    parser.add_argument("--json", help="where to write all of it")
    options = parser.parse_args()
    out, seconds = Path(options.out), options.seconds
    if seconds is None:
        command = [sys.executable, "-m", "distill_jax", "fit", options.data, "--out", str(out)]
        command += ["--teacher", options.teacher, "--minutes", str(options.minutes)]
        command += ["--seed", str(options.seed)]
        command += ["--unlabelled", *options.unlabelled] if options.unlabelled else []
        command += ["--vectors", options.vectors] if options.vectors else []
        seconds = processor_seconds(command)
    metrics = json.loads((out / "metrics.json").read_text())["student"]
    last = "test" if "test" in metrics else "dev"
    [folder] = [path.parent for path in (out / "data").glob("*/train.jsonl")]
    splits = {split: folder / f"{split}.jsonl" for split in ("train", "valid", "test")}
    if last == "dev":
        splits["test"] = splits["valid"]
    rows = {"distill-jax fit": {"f1": metrics[last]["f1"], "processor_seconds": seconds}}
    peers = {
        "spaCy ner": ("spacy_ner", sys.executable, []),
        "transformers": ("token_classifier", options.torch_python, [f"--model={options.teacher}"]),
    }
    for name, (program, python, more) in peers.items():
        predicted = out.with_name(f"{out.name}-{program}.jsonl")
        more = [f"--seed={options.seed}", *more]
        rows[name] = peer(program, python, splits, predicted, seconds, more)
    table = Table("", f"F1 on {last}", "minutes of processor time")
    for name, row in rows.items():
        table.add_row(name, f"{100 * row['f1']:.2f}", f"{row['processor_seconds'] / 60:.1f}")
    Console().print(table)
    if options.json:
        write_json(options.json, {**environment(options, "spacy"), "rows": rows})


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    main()
