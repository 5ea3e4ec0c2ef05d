"""What a server answers under load: requests a second, how long they take, and a long trial of it.

    python -m benchmarks.serving.load [--model DIR] [--json FILE]
    python -m benchmarks.serving.load --soak 10

Clients on this machine send a sentence each and wait for the answer before they send the next, all of
them at a time, and in turns with that one alone, and all at a server that puts no sentences together
(`--batch_size 1`). Without `--model` a BiLSTM of random weights is served, exported to ONNX, or with
`--jax` as it is. Clients and server share the processor's cores.

`--soak` is described in soak.py. Exit code 1 if a target is missed.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a file: what is imported from is the checkout
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.common.environment import environment
from benchmarks.common.tables import at_least, at_most
from benchmarks.serving.client import load
from benchmarks.serving.server import make_model, serving
from benchmarks.serving.soak import soak

RATIO, P99_MS = 4.0, 50.0


def rates(model: Path, texts: list[str], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Rounds of each setting in turns; medians over the rounds."""
    settings: dict[str, tuple[list[str], int]] = {
        "one by one": ([], 1),
        f"{options.clients} clients": ([], options.clients),
        f"{options.clients} clients, no batches": (
            ["--batch_size", "1", "--window_ms", "0"],
            options.clients,
        ),
    }
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in settings}
    with (
        serving(model, *options.serve) as one,
        serving(model, *settings[list(settings)[2]][0]) as two,
    ):
        for number in range(-1, options.rounds):  # the first is for warming up
            for name, (arguments, clients) in settings.items():
                port = (two if arguments else one).port
                took = asyncio.run(load(port, texts, clients, options.seconds))
                if number >= 0:
                    p50, p99 = np.percentile(took, [50, 99])
                    found[name].append((len(took) / options.seconds, float(p50), float(p99)))
    rows = []
    for name, rounds in found.items():
        rate, p50, p99 = (float(np.median(column)) for column in zip(*rounds, strict=True))
        rows.append(
            {"setting": name, "requests_per_second": rate, "p50_ms": 1e3 * p50, "p99_ms": 1e3 * p99}
        )
    return rows


def targets_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rates beside what was aimed at."""
    alone, together, without = rows
    rate = together["requests_per_second"]
    return [
        at_least("requests/s, all clients against one", rate / alone["requests_per_second"], RATIO),
        at_least("the same, against no batches", rate / without["requests_per_second"], None),
        at_most("99th percentile of all clients, ms", together["p99_ms"], P99_MS),
    ]


def show(results: dict[str, Any]) -> None:
    """Prints everything measured."""
    console = Console()
    if "rates" in results:
        table = Table("clients", "requests/s", "median, ms", "p99, ms")
        for row in results["rates"]:
            figures = (row["requests_per_second"], row["p50_ms"], row["p99_ms"])
            table.add_row(row["setting"], *(f"{figure:,.1f}" for figure in figures))
        console.print(table)
    for name, count in results.get("soak", {}).items():
        console.print(f"{name}: {count}")
    table = Table("", "measured", "target", "")
    for entry in results["targets"]:
        target = "" if entry["target"] is None else f"{entry['bound']} {entry['target']:g}"
        verdict = {None: "", True: "met", False: "missed"}[entry["met"]]
        table.add_row(entry["what"], f"{entry['value']:.3g}", target, verdict)
    console.print(table)


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description="Measures `distill-jax serve` under load.")
    parser.add_argument("--model", type=Path, metavar="DIR", help="default: random weights")
    parser.add_argument("--jax", action="store_true", help="serve the random model without ONNX")
    parser.add_argument("--dim", type=int, default=64, help="its size; 64: 0.8M parameters")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5.0, help="of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--soak", type=float, metavar="MINUTES", help="the long trial, and no rates"
    )
    parser.add_argument("--json", metavar="FILE", help="write everything measured")
    parser.add_argument(
        "serve", nargs="*", metavar="OPTION", help="after --: options of `distill-jax serve`"
    )
    options = parser.parse_args()
    from distill_jax.data import demo

    texts = [" ".join(sentence.words) for sentence in demo.generate("test", 500)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        results: dict[str, Any] = environment(
            options, "starlette", "uvicorn", "httptools", "onnxruntime"
        )
        if options.soak is not None:
            results |= soak(folder, texts, options)
        else:
            model = options.model or make_model(
                folder, "model", seed=0, dim=options.dim, onnx=not options.jax
            )
            results["rates"] = rates(model, texts, options)
            results["targets"] = targets_of(results["rates"])
    show(results)
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=2, default=str) + "\n", "utf-8")
    return int(any(entry["met"] is False for entry in results["targets"]))


if __name__ == "__main__":
    sys.exit(main())
