"""Decoders of this project against each other and against Hugging Face transformers, in one run.

    python benchmarks/decoding/decode.py --json decode.json
    python benchmarks/decoding/decode.py --data_dir ../shared/data --vocabulary ../shared/vocab/t5 \\
        --trained_model runs/atis/teacher/model --trained_data ../shared/data/atis/test.conll

The same random weights go to both sides; sentences are random too, all of the same number of words.
What each part (`--only`) does:

* `machine`: the rate of matrix products and of copies.
* `throughput`: sentences a second of every algorithm, by label set and batch size, with the share of
  the machine's rate that the arithmetic no implementation can avoid amounts to (`work`), and whether
  the decoders here agree with those in transformers.
* `trained`: a teacher of peaked posteriors on real sentences (needs `--trained_model`, `--trained_data`).
* `labelling`: from words to a finished label store, beside the decoder alone; the same teacher.
* `growth`: the time of `pruned` with 10 and with 300 tags, the same teacher.
* `legality`: whether sentences of tiny random models are tagged legally by every algorithm.
* `brute_force`: tags and log-likelihoods against every tag spelled out.

Functions are timed in turns; a figure is the median of its repetitions. SenTScore without a cache is too
slow to be run to its end: some words (and tags) are timed and the rest is interpolated, which the
table marks with ~. Peers that are not installed are left out, with a line that says so.
"""

import argparse
import contextlib
import dataclasses
import functools
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if not __package__:  # run as a file: what is imported from is the checkout, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import jax
import numpy as np

from benchmarks.common import tables, workload
from benchmarks.common.environment import cores, environment
from benchmarks.common.timing import Machine, measure_machine
from benchmarks.common.workload import Labels, Model
from benchmarks.decoding import checks, teacher
from benchmarks.decoding.throughput import (
    OURS,
    PEERS,
    SETTINGS,
    Throughput,
    decoder_of,
)
from distill_jax.errors import UserError
from distill_jax.files import atomic_write
from distill_jax.interop.hf.checkpoint import write_hf

PARTS = ("machine", "throughput", "trained", "labelling", "growth", "legality", "brute_force")
# (name, faster, slower, target by batch size; None: the same for all).
_TARGETS: tuple[tuple[str, str, str, dict[int | None, float]], ...] = (
    ("greedy / constrained generate", "greedy", "hf-generate", {32: 4.0, 1: 3.0}),
    ("sentscore / tag by tag without cache", "sentscore", "hf-uncached", {32: 35.0}),
    ("sentscore / tag by tag with cache", "sentscore", "hf-cached", {32: 3.0}),
    ("sentscore: trie / vocab normaliser", "sentscore-trie", "sentscore", {None: 1.4}),
    ("score / incremental steps", "score", "sentscore", {None: 3.0}),
)
_TRAINED_TARGETS: tuple[tuple[str, str, str, dict[int | None, float]], ...] = (
    ("pruned / constrained generate", "pruned", "hf-generate", {None: 2.5}),
)
_LABELLING_TARGETS: tuple[tuple[str, str, str, dict[int | None, float]], ...] = (
    ("labelling / the decoder alone", "label", "sentscore", {None: 0.9}),
)
_GROWTH_TARGET = 2.0
_AGREEMENT = 1e-4


class Benchmark:
    """One run: settings, what is measured once, and the results so far."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.results: dict[str, Any] = {"skipped": []}
        self._folder = tempfile.TemporaryDirectory()

    def __enter__(self) -> "Benchmark":
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def skip(self, what: str) -> None:
        """Notes, once, that something is left out and why."""
        if what not in self.results["skipped"]:
            self.results["skipped"].append(what)
            self.say(f"skipped: {what}")

    def say(self, what: str) -> None:
        """Shows that work goes on."""
        print(f"... {what}", file=sys.stderr, flush=True)

    @functools.cached_property
    def model(self) -> Model:
        """Random weights."""
        self.say(f"random weights, size {self.options.size}")
        return workload.random_model(self.options.size, self.options.dtype, self.options.seed)

    @functools.cached_property
    def machine(self) -> Machine:
        """Measured once."""
        self.say("rates of the machine")
        config = self.model.t5.config
        rows = max(self.options.batch_sizes)
        nodes = rows * (1 + workload.ten_labels(config.vocab_size).trie.num_nodes)
        shapes = [
            (count, inner, columns)
            for count in (1, rows, nodes)
            for inner, columns in (
                (config.d_model, config.d_ff),
                (config.d_model, config.vocab_size),
            )
        ]
        cpu, quick = jax.default_backend() == "cpu", self.options.quick
        return measure_machine(
            shapes,
            self.options.dtype,
            square=512 if quick else 2048 if cpu else 8192,
            copied=2**16 if quick else 2**26 if cpu else 2**29,
        )

    @functools.cached_property
    def label_sets(self) -> list[Labels]:
        """Those asked for."""
        options, rows = self.options, self.model.t5.config.vocab_size
        found = []
        for name in options.label_sets:
            if name == "ten":
                found.append(workload.ten_labels(rows))
            elif options.data_dir and options.vocabulary:
                found.append(workload.data_labels(options.data_dir, options.vocabulary))
            else:
                found.append(workload.atis_like_labels(rows))
        return found

    def peers(self, model: Model, name: str, dtype: str | None = None) -> Any:
        """The model (written once under this name) in transformers; None where not to be had."""
        if not self.options.peers:
            return None
        try:
            import torch

            from benchmarks.decoding.peers import TransformersT5
        except ImportError as error:
            self.skip(f"peers in transformers: {error}; pip install torch transformers")
            return None
        device = "cpu"
        if jax.default_backend() == "gpu":
            if not torch.cuda.is_available():
                self.skip("peers in transformers: this PyTorch has no GPU")
                return None
            device = "cuda"
        # Handing a tiny model's work to other cores costs more than it saves, much more on a busy machine.
        torch.set_num_threads(1 if self.options.quick else cores())
        folder = Path(self._folder.name) / name
        if not folder.exists():
            write_hf(folder, model.t5.config.replace(dtype="float32"), model.params)
        kind = getattr(torch, dtype or self.options.dtype)
        return TransformersT5(folder, dtype=kind, device=device)

    def throughput(self) -> None:
        """Every algorithm on random sentences."""
        model, options = self.model, self.options
        peers = self.peers(model, "random") if set(options.algorithms) & set(PEERS) else None
        half = None
        if "hf-generate-bf16" in options.algorithms:
            half = self.peers(model, "random", "bfloat16")
        rows: list[dict[str, Any]] = []
        agreement: list[dict[str, Any]] = []
        for labels in self.label_sets:
            for size in options.batch_sizes:
                rng = np.random.default_rng(options.seed)
                batch = workload.random_batch(
                    rng, model.t5.config.vocab_size, [options.words] * size, options.words
                )
                run = Throughput(options, self.say, self.machine, labels, batch, model, peers, half)
                rows += run.rows()
                agreement += run.agreement
        self.results["throughput"] = rows
        self.results["agreement_with_transformers"] = agreement
        self.results["targets"] += tables.ratios(rows, _TARGETS)

    def trained(self) -> None:
        """Pruning where posteriors are peaked."""
        rows: list[dict[str, Any]] = []
        checked: list[dict[str, Any]] = []
        for size in self.options.batch_sizes:
            trained = self._trained(size)
            if trained is None:
                return
            self.say(f"trained teacher, batch {size}")
            peers = self.peers(trained.model, "trained")
            rows += teacher.rates(trained, peers, self.machine, size, self.options)
            checked.append({"batch": size} | teacher.compare_pruned(trained))
        self.results["trained"] = {"rows": rows, "pruned": checked}
        self.results["targets"] += tables.ratios(rows, _TRAINED_TARGETS)

    def labelling(self) -> None:
        """Whether writing a label store keeps up with the decoder."""
        size = max(self.options.batch_sizes)
        trained = self._trained(size)
        if trained is None:
            return
        self.say("labelling")
        rows = teacher.labelling(self.options.trained_model, trained, size, self.options)
        self.results["labelling"] = rows
        self.results["targets"] += tables.ratios(rows, _LABELLING_TARGETS)

    def growth(self) -> None:
        """Time of `pruned` against the number of tags."""
        trained = self._trained(max(self.options.batch_sizes))
        if trained is None:
            return
        self.say("growth with the number of tags")
        rows = teacher.growth(trained, self.options)
        self.results["growth"] = rows
        few, many = rows[0], rows[-1]
        name = f"pruned: time with {many['tags']} / {few['tags']} tags"
        self.results["targets"].append(
            tables.at_most(name, many["seconds"] / few["seconds"], _GROWTH_TARGET)
        )

    def legality(self) -> None:
        """Tags of tiny random models."""
        options = self.options
        self.say(f"legality of {options.legality} sentences")
        model = workload.random_model("tiny", "float32", options.seed)
        labels = workload.ten_labels(model.t5.config.vocab_size)
        counted = checks.legality(
            {name: decoder_of(model, labels, name) for name in SETTINGS},
            model,
            num_tags=len(labels.tags),
            sentences=options.legality,
            batch_size=min(options.legality, max(options.batch_sizes) if options.quick else 500),
            max_words=options.words,
            seed=options.seed,
        )
        self.results["legality"] = counted
        share = min(count["legal"] / count["sentences"] for count in counted.values())
        self.results["targets"].append(
            tables.at_least(f"legal, of {options.legality} sentences by each", share, 1.0)
        )

    def brute_force(self) -> None:
        """Decoders against every tag spelled out, in float32."""
        options = self.options
        self.say("brute force")
        model = self.model
        if options.dtype != "float32":
            model = workload.random_model(options.size, "float32", options.seed)
        labels = workload.ten_labels(model.t5.config.vocab_size)
        rng = np.random.default_rng(options.seed + 1)
        batch = workload.random_batch(
            rng, model.t5.config.vocab_size, 2 * [options.words], options.words
        )
        found: dict[str, Any] = {}
        # A GPU multiplies float32 in fewer bits unless told otherwise; a CPU needs no telling.
        precise = jax.default_backend() != "cpu"
        with jax.default_matmul_precision("highest") if precise else contextlib.nullcontext():
            for name in SETTINGS:
                result = decoder_of(model, labels, name)(model.params, batch)
                tags = np.asarray(result.tags)
                if name == "greedy":
                    found[name] = checks.check_greedy(model, batch, labels.tags, tags)
                    continue
                normaliser = SETTINGS[name].normaliser
                u = np.asarray(result.log_likelihoods)
                checked = checks.check_scores(model, batch, labels.tags, tags, u, normaliser)
                if name == "beam":  # its best sequence need not hold every word's best tag
                    del checked["different_tags"], checked["ties"]
                found[name] = checked
        self.results["brute_force"] = found
        errors = [r["worst_relative_error"] for r in found.values() if "compared" in r]
        different = sum(
            r.get("different_tags", 0) + r.get("different_tokens", 0) for r in found.values()
        )
        self.results["targets"] += [
            tables.at_most("brute force: largest relative error of u", max(errors), _AGREEMENT),
            tables.at_most("brute force: tags that differ, ties aside", different, 0),
        ]

    def run(self) -> None:
        """The parts asked for, in their order."""
        self.results |= environment(self.options, "flax", "numpy", "torch", "transformers")
        self.results["targets"] = []
        for part in PARTS:
            if part not in self.options.only:
                continue
            if part == "machine":
                self.results["machine"] = dataclasses.asdict(self.machine)
            else:
                getattr(self, part)()

    def _trained(self, batch_size: int) -> Any:
        options = self.options
        if not (options.trained_model and options.trained_data):
            self.skip("trained teacher, labelling, growth: give --trained_model and --trained_data")
            return None
        return workload.load_trained(
            options.trained_model,
            options.trained_data,
            # One sentence at a time takes long: some are enough.
            sentences=options.trained_sentences if batch_size > 1 else 16,
            batch_size=batch_size,
            dtype=options.dtype,
        )


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, with what `--quick` changes filled in."""
    parser = argparse.ArgumentParser(
        description="Times the decoders here and in transformers, and checks that they agree."
    )
    add = parser.add_argument
    add("--json", type=Path, help="write everything measured to this file")
    add("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to run")
    add("--algorithms", nargs="+", choices=OURS + PEERS, help="of `throughput`; all by default")
    add("--no_peers", dest="peers", action="store_false", help="leave transformers out")
    add("--quick", action="store_true", help="a tiny model and few words, to try things out")
    add("--size", choices=workload.SIZES, help="of the T5 v1.1 (small)")
    add("--dtype", choices=("float32", "bfloat16"), default="float32", help="of weights and states")
    add("--words", type=int, help="in each random sentence (20)")
    add("--batch_sizes", type=int, nargs="+", help="(1 32)")
    add("--label_sets", nargs="+", choices=("ten", "atis"), help="(ten atis)")
    add("--data_dir", help="folder with atis/train.conll, for the label set `atis`")
    add("--vocabulary", help="in whose tokens that label set is written")
    add("--trained_model", help="directory of a trained teacher")
    add("--trained_data", help="file of sentences for that teacher")
    add("--trained_sentences", type=int, default=128, help="of that file, spread evenly (128)")
    add("--most_tags", type=int, default=300, help="of `growth` (300)")
    add("--legality", type=int, help="sentences to be checked (10000)")
    add("--attention", choices=("faster", "eager", "sdpa"), help="of transformers (faster)")
    add("--rounds", type=int, help="repetitions, fewer where they take more than 20 seconds (7)")
    add("--least_seconds", type=float, help="repeat what is fast at least so long (1)")
    add("--most_timed_tags", type=int, default=10, help="without cache, the rest interpolated (10)")
    add("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    usual: dict[str, Any] = {"size": "small", "words": 20, "batch_sizes": [1, 32], "rounds": 7}
    usual |= {"label_sets": ["ten", "atis"], "legality": 10_000, "attention": "faster"}
    usual |= {"algorithms": list(OURS + PEERS), "least_seconds": 1.0}
    if options.quick:
        usual |= {"size": "tiny", "words": 4, "batch_sizes": [2], "rounds": 2}
        usual |= {"label_sets": ["ten"], "legality": 8, "attention": "sdpa", "least_seconds": 0.0}
    for name, value in usual.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    for name, value in vars(options).items():
        if name.endswith(("_tags", "_sentences", "words", "legality", "rounds")) and value < 1:
            parser.error(f"--{name} is {value}; use at least 1")
    if min(options.batch_sizes) < 1:
        parser.error(f"--batch_sizes: {min(options.batch_sizes)} is too small; use at least 1")
    return options


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Runs the benchmark, prints its tables, and returns what it wrote."""
    options = parse(arguments)
    with Benchmark(options) as benchmark:
        benchmark.run()
    results = json.loads(json.dumps(benchmark.results, default=os.fspath))
    tables.show(results)
    if options.json:
        with atomic_write(options.json) as temporary:
            temporary.write_text(json.dumps(results, indent=2) + "\n", "utf-8")
    return results


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
