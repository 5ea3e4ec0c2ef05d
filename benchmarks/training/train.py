"""Training steps of this project against t5x's and Hugging Face transformers', in one run.

    python benchmarks/training/train.py --data_dir ../shared/data \\
        --vocabulary ../shared/vocab/t5 --json train.json

What each part (`--only`) does:

* `step`: loss, gradients and AdamW of a T5 v1.1 with dropout, on the same random batch from the same
  weights: this project's step, t5x's `EncoderDecoderModel` (with its one-hot embeddings, and with its
  `Embed` told to gather rows) and transformers (PyTorch). The losses without dropout are compared.
* `packing`: real sentences in packed rows against the same step padded to the longest sentence (needs
  `--data_dir` and `--vocabulary`, unless `--quick`).
* `compile`: seconds of compiling a deep, narrow model with a scan over its layers and without.
* `checkpoint`: a run of `train.loop.fit` with checkpoints against one without.

Steps are timed in turns; a figure is the median of its repetitions. Beside the wall's time stands the
processor's, all threads together, to which other programs on the machine add little. Peers that are not
installed are left out, with a line that says so; `benchmarks/training/t5x_step.py` says how to install t5x.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

if not __package__:  # run as a file: what is imported from is the checkout, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import jax
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.common import tables, workload
from benchmarks.common.environment import cores, environment
from benchmarks.common.timing import Patience, square_product
from benchmarks.training import parts
from benchmarks.training.steps import (
    LEARNING_RATE,
    Program,
    random_tokens,
    time_in_turns,
)
from distill_jax.distill.language_model import LanguageModelLoss
from distill_jax.errors import UserError
from distill_jax.files import atomic_write
from distill_jax.interop.hf.checkpoint import write_hf
from distill_jax.models.t5_config import T5Config

PARTS = ("step", "packing", "compile", "checkpoint")
T5X = ("t5x", "t5x-gathered")
TRANSFORMERS = ("transformers", "transformers-sdpa")
_STEP_TARGET, _PACKING_TARGET, _COMPILE_TARGET, _CHECKPOINT_TARGET = 1.2, 2.5, 0.2, 0.03
_AGREEMENT = 1e-4


class Benchmark:
    """One run: settings, and the results so far."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.results: dict[str, Any] = {"skipped": [], "targets": []}

    def say(self, what: str) -> None:
        """Shows that work goes on."""
        print(f"... {what}", file=sys.stderr, flush=True)

    def skip(self, what: str) -> None:
        """Notes that something is left out and why."""
        self.results["skipped"].append(what)
        self.say(f"skipped: {what}")

    @property
    def patience(self) -> Patience:
        return Patience(self.options.rounds, 0.0 if self.options.quick else 1.0, 600.0)

    def step(self) -> None:
        """This project's training step and its peers'."""
        options = self.options
        config = T5Config(**({"vocab_size": workload.ROWS} | workload.SIZES[options.size]))  # type: ignore[arg-type]
        batch = random_tokens(config.vocab_size, options.batch, options.length, options.seed)
        params = workload.draw_weights(config, jax.random.key(options.seed))
        programs = {"distill_jax": Program.make(config)}
        for chunks in options.logit_chunks:
            programs[f"distill_jax, {chunks} chunks"] = Program.make(
                config, LanguageModelLoss(logit_chunks=chunks)
            )
        for remat in options.remat:
            programs[f"distill_jax, remat {remat}"] = Program.make(config.replace(remat=remat))
        losses = {"distill_jax": programs["distill_jax"].loss(params, batch)}
        functions = {name: p.stepper(params, [batch]) for name, p in programs.items()}
        with tempfile.TemporaryDirectory() as folder:
            self._add_t5x(config, params, batch, functions, losses)
            self._add_transformers(Path(folder) / "model", config, params, batch, functions, losses)
        side = 256 if options.quick else 2048
        product, operations = square_product(side, "float32")
        self.say(f"steps of {', '.join(functions)}")
        clocks = time_in_turns(functions | {"": product}, self.patience)
        flops = programs["distill_jax"].flops(batch)
        rows = [
            {
                "name": name,
                "seconds": clocks[name].wall.median,
                "cpu_seconds": clocks[name].cpu.median,
                "all_seconds": clocks[name].wall.seconds,
                "all_cpu_seconds": clocks[name].cpu.seconds,
                "examples_per_second": options.batch / clocks[name].wall.median,
                "examples_per_cpu_second": options.batch / clocks[name].cpu.median,
                "share_of_matrix_rate": flops
                / clocks[name].wall.median
                / (operations / clocks[""].wall.median),
            }
            for name in functions
        ]
        self.results["step"] = {
            "batch": options.batch,
            "length": options.length,
            "flops": flops,
            "matrix_flops": operations / clocks[""].wall.median,
            "rows": rows,
            "losses": losses,
        }
        seconds = {row["name"]: row for row in rows}
        for kind, peers, target in (
            ("t5x", T5X, _STEP_TARGET),
            ("transformers", TRANSFORMERS, None),
        ):
            found = [seconds[name] for name in peers if name in seconds]
            for clock, what in (("seconds", ""), ("cpu_seconds", ", time of the processor")):
                if found:
                    ratio = min(row[clock] for row in found) / seconds["distill_jax"][clock]
                    wanted = target if clock == "seconds" else None
                    name = f"step / the better {kind} variant{what}"
                    self.results["targets"].append(tables.at_least(name, ratio, wanted))
        if len(losses) > 1:
            worst = max(abs(loss / losses["distill_jax"] - 1.0) for loss in losses.values())
            self.results["targets"].append(
                tables.at_most("relative difference of losses without dropout", worst, _AGREEMENT)
            )

    def _add_t5x(
        self,
        config: T5Config,
        params: Any,
        batch: Any,
        functions: dict[str, Callable[[], Any]],
        losses: dict[str, float],
    ) -> None:
        if not self.options.peers:
            return
        try:
            from benchmarks.training.t5x_step import T5xTraining
        except ImportError as error:
            self.skip(f"t5x: {error}; benchmarks/training/t5x_step.py says how to install it")
            return
        for name in T5X:
            peer = T5xTraining(config, params, gathered=name != "t5x", learning_rate=LEARNING_RATE)
            losses[name] = peer.loss(batch)
            functions[name] = peer.stepper(batch)

    def _add_transformers(
        self,
        folder: Path,
        config: T5Config,
        params: Any,
        batch: Any,
        functions: dict[str, Callable[[], Any]],
        losses: dict[str, float],
    ) -> None:
        if not self.options.peers:
            return
        try:
            import torch

            from benchmarks.training.transformers_step import TransformersTraining
        except ImportError as error:
            self.skip(f"transformers: {error}; pip install torch transformers")
            return
        device = "cpu"
        if jax.default_backend() == "gpu":
            if not torch.cuda.is_available():
                self.skip("transformers: this PyTorch has no GPU")
                return
            device = "cuda"
        torch.set_num_threads(cores())
        write_hf(folder, config, params)
        for name in TRANSFORMERS:
            peer = TransformersTraining(
                folder,
                attention="sdpa" if name.endswith("sdpa") else "eager",
                learning_rate=LEARNING_RATE,
                device=device,
            )
            losses[name] = peer.loss(batch)
            functions[name] = peer.stepper(batch)

    def packing(self) -> None:
        """Packed rows against padded ones."""
        options = self.options
        if options.quick:
            part = parts.random_examples(384, 200, options.seed)
        elif options.data_dir and options.vocabulary:
            part = parts.real_examples(options.data_dir, options.vocabulary)
        else:
            self.skip("packing: give --data_dir and --vocabulary")
            return
        self.say("packed and padded rows")
        config = T5Config(**({"vocab_size": workload.ROWS} | workload.SIZES[options.size]))  # type: ignore[arg-type]
        rows = parts.packing(
            part,
            config,
            rows=options.batch,
            packed_length=options.packed_length,
            batches=4,
            patience=self.patience,
            seed=options.seed,
        )
        self.results["packing"] = rows
        padded, packed = (row["sentences_per_second"] for row in rows)
        self.results["targets"].append(
            tables.at_least("packed / padded sentences a second", packed / padded, _PACKING_TARGET)
        )

    def compile(self) -> None:
        """With a scan over layers and without."""
        options = self.options
        self.say(f"compiling {options.layers} + {options.layers} layers with a scan and without")
        narrow = workload.SIZES["tiny"] | dict.fromkeys(
            ("num_encoder_layers", "num_decoder_layers"), options.layers
        )
        rows = parts.compile_times(T5Config(**narrow), rows=2, length=16)  # type: ignore[arg-type]
        self.results["compile"] = {"layers": options.layers, "rows": rows}
        scanned, spelled = (row["seconds"] for row in rows)
        self.results["targets"].append(
            tables.at_most("compile time: scan / no scan", scanned / spelled, _COMPILE_TARGET)
        )

    def checkpoint(self) -> None:
        """What checkpoints cost."""
        options = self.options
        self.say("runs with checkpoints and without")
        config = T5Config(**workload.SIZES["tiny"])  # type: ignore[arg-type]
        if not options.quick:
            config = config.replace(
                vocab_size=4096,
                d_model=128,
                d_kv=32,
                d_ff=256,
                num_heads=4,
                num_encoder_layers=2,
                num_decoder_layers=2,
            )
        found = parts.checkpoints(
            config,
            rows=2 if options.quick else options.batch,
            length=4 if options.quick else options.length,
            steps=options.checkpoint_steps,
            period=options.checkpoint_period,
            rounds=options.checkpoint_rounds,
        )
        self.results["checkpoint"] = found
        name = f"checkpoint every {found['period']} steps: share of the step time"
        self.results["targets"].append(tables.at_most(name, found["overhead"], _CHECKPOINT_TARGET))

    def run(self) -> None:
        """The parts asked for, in their order."""
        self.results |= environment(self.options, "flax", "t5x", "torch", "transformers")
        for part in PARTS:
            if part in self.options.only:
                getattr(self, part)()


def show(results: dict[str, Any], console: Console | None = None) -> None:
    """Prints everything measured."""
    console = console or Console()
    if "step" in results:
        part = results["step"]
        console.print(
            f"training step, batch {part['batch']} x ({part['length']}, {part['length']}): "
            f"{part['flops'] / 1e9:,.0f} GFLOP of products; a large product: "
            f"{part['matrix_flops'] / 1e9:,.1f} GFLOP/s"
        )
        columns = ("name", "seconds", "cpu_seconds", "examples_per_second", "share_of_matrix_rate")
        _show_rows(part["rows"], columns, console)
    if "packing" in results:
        columns = ("rows", "batch", "inputs", "targets", "sentences_in_batch", "filled")
        columns += ("seconds", "cpu_seconds", "sentences_per_second")
        _show_rows(results["packing"], columns, console)
    if "compile" in results:
        columns = ("scan_layers", "trace", "compile", "seconds")
        _show_rows(results["compile"]["rows"], columns, console)
    if "checkpoint" in results:
        columns = ("parameters", "step_seconds_without", "step_seconds_with", "overhead")
        _show_rows([results["checkpoint"]], columns, console)
    tables.show({name: results[name] for name in ("versions", "device", "skipped", "targets")})


def _show_rows(rows: Sequence[dict[str, Any]], columns: Sequence[str], console: Console) -> None:
    table = Table(box=box.SIMPLE, pad_edge=False)
    for name in columns:
        table.add_column(name.replace("_", " "), justify="left" if name == "name" else "right")
    for row in rows:
        table.add_row(*(_text(row[name]) for name in columns))
    console.print(table)


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else f"{value}"


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, with what `--quick` changes filled in."""
    parser = argparse.ArgumentParser(
        description="Times training steps here, in t5x and in transformers, and what training costs."
    )
    add = parser.add_argument
    add("--json", type=Path, help="write everything measured to this file")
    add("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to run")
    add("--no_peers", dest="peers", action="store_false", help="leave t5x and transformers out")
    add("--quick", action="store_true", help="tiny models, to try things out")
    add("--size", choices=workload.SIZES, help="of the T5 v1.1 of `step` and `packing` (small)")
    add("--batch", type=int, help="examples in a batch (32)")
    add("--length", type=int, help="tokens of an example on both sides (64)")
    add("--logit_chunks", type=int, nargs="*", default=[], help="time these options of `step` too")
    add("--remat", nargs="*", choices=("full", "dots"), default=[], help="time these options too")
    add("--data_dir", help="folder with snips/train.conll, for `packing`")
    add("--vocabulary", help="in whose tokens those sentences are written")
    add("--packed_length", type=int, help="tokens of a packed row on both sides (128)")
    add("--layers", type=int, help="of `compile`, on each side (24)")
    add("--checkpoint_period", type=int, help="steps (100)")
    add("--checkpoint_steps", type=int, help="of each run (600)")
    add("--checkpoint_rounds", type=int, help="runs of each kind, after one to warm up (2)")
    add("--rounds", type=int, help="repetitions of each step (5)")
    add("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    usual: dict[str, Any] = {"size": "small", "batch": 32, "length": 64, "packed_length": 128}
    usual |= {"layers": 24, "rounds": 5, "checkpoint_period": 100, "checkpoint_steps": 600}
    usual |= {"checkpoint_rounds": 2}
    if options.quick:
        usual |= {"size": "tiny", "batch": 4, "length": 8, "packed_length": 32, "layers": 2}
        usual |= {"rounds": 2, "checkpoint_period": 2, "checkpoint_steps": 6}
        usual |= {"checkpoint_rounds": 1}
    for name, value in usual.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
        if not isinstance(value, str) and getattr(options, name) < 1:
            parser.error(f"--{name} is {getattr(options, name)}; use at least 1")
    if options.checkpoint_steps < 3 * options.checkpoint_period:
        parser.error("--checkpoint_steps must be at least three times --checkpoint_period")
    return options


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Runs the benchmark, prints its tables, and returns what it wrote."""
    options = parse(arguments)
    benchmark = Benchmark(options)
    benchmark.run()
    results = json.loads(json.dumps(benchmark.results, default=os.fspath))
    show(results)
    if options.json:
        with atomic_write(options.json) as temporary:
            temporary.write_text(json.dumps(results, indent=2) + "\n", "utf-8")
    return results


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
