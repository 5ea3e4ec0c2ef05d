"""Parts of the training benchmark that have no peers: packing, compile time, checkpoints."""

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grain
import jax
import numpy as np

from benchmarks.common.timing import Patience
from benchmarks.common.workload import draw_weights
from benchmarks.training.steps import (
    LEARNING_RATE,
    ONE_DEVICE,
    Batch,
    Program,
    batches_of,
    examples_in,
    random_tokens,
    time_in_turns,
)
from distill_jax.data.readers import read_sentences
from distill_jax.data.seq2seq import Seq2SeqPart, packed_rows, tagging_part
from distill_jax.distill.language_model import LanguageModel
from distill_jax.models.t5 import T5
from distill_jax.models.t5_config import T5Config
from distill_jax.sent.format import SenTFormat
from distill_jax.tagging.labels import LabelSet
from distill_jax.train.feed import RowBatches
from distill_jax.train.loop import fit
from distill_jax.train.optimizers import AdamW
from distill_jax.train.training import Schedule, Training
from distill_jax.vocab import load_vocabulary

_ENOUGH = {"inputs": 512, "targets": 512}
"""Longer than any sentence of SNIPS: none is cut into windows."""


def real_examples(data_dir: str | Path, vocabulary: str | Path) -> Seq2SeqPart:
    """SenT′ examples of SNIPS' training sentences."""
    found = list(read_sentences(Path(data_dir) / "snips" / "train.conll"))
    labels = LabelSet.from_sentences(found)
    return tagging_part(found, SenTFormat(load_vocabulary(vocabulary), labels), _ENOUGH)


def random_examples(vocab_size: int, count: int, seed: int) -> Seq2SeqPart:
    """Examples whose lengths vary as sentences' do, most of them far shorter than the longest."""
    rng = np.random.default_rng(seed)
    lengths = np.minimum(4 + rng.poisson(4, (count, 2)), 16).astype(np.int32)
    lengths[0] = 16
    pairs = [tuple(rng.integers(3, vocab_size, n).astype(np.int32) for n in row) for row in lengths]
    return Seq2SeqPart(lengths, lambda index, rng: pairs[index])


def packing(
    part: Seq2SeqPart,
    config: T5Config,
    *,
    rows: int,
    packed_length: int,
    batches: int,
    patience: Patience,
    seed: int,
) -> list[dict[str, Any]]:
    """Sentences a second with rows of several examples, and padded to the longest sentence.

    Padded batches have `rows` rows; packed ones of `packed_length` tokens on both sides have as many
    as make the same number of positions, or as near to it as there are.
    """
    longest = np.asarray(part.lengths).max(axis=0).tolist()
    packed_rows_count = max(1, round(rows * sum(longest) / (2 * packed_length)))
    forms = {
        "padded": (dict(zip(("inputs", "targets"), longest, strict=True)), rows),
        "packed": (dict.fromkeys(("inputs", "targets"), packed_length), packed_rows_count),
    }
    params = draw_weights(config, jax.random.key(seed))
    program = Program.make(config)
    given: dict[str, list[Batch]] = {}
    for name, (lengths, size) in forms.items():
        made = packed_rows([part], lengths, seed=seed, packing=name == "packed")
        given[name] = list(batches_of(made, size, batches))
    clocks = time_in_turns({name: program.stepper(params, given[name]) for name in forms}, patience)
    found = []
    for name, (lengths, size) in forms.items():
        examples = float(np.mean([examples_in(batch) for batch in given[name]]))
        real = [np.mean(batch["decoder_segment_ids"] > 0) for batch in given[name]]
        found.append(
            {
                "rows": name,
                "batch": size,
                **lengths,
                "sentences_in_batch": examples,
                "filled": float(np.mean(real)),
                "seconds": clocks[name].wall.median,
                "cpu_seconds": clocks[name].cpu.median,
                "sentences_per_second": examples / clocks[name].wall.median,
                "sentences_per_cpu_second": examples / clocks[name].cpu.median,
            }
        )
    return found


def compile_times(config: T5Config, *, rows: int, length: int) -> list[dict[str, Any]]:
    """Seconds until the step is compiled, with a scan over layers and with each spelled out."""
    batch = random_tokens(config.vocab_size, rows, length, 0)
    found = []
    for scanned in (True, False):
        jax.clear_caches()
        with _without_cache():
            program = Program.make(config.replace(scan_layers=scanned))
            found.append({"scan_layers": scanned, **program.compile_seconds(batch)})
    return found


def checkpoints(
    config: T5Config, *, rows: int, length: int, steps: int, period: int, rounds: int
) -> dict[str, Any]:
    """Time of `fit` with a checkpoint every `period` steps, and with one at the end only.

    A figure is the median over windows of `period` steps, each with one checkpoint where there are any. A
    run's first window, which has none, is left out; runs of the two kinds take turns.
    """
    objective = LanguageModel(T5(config))
    data = random_tokens(config.vocab_size, rows, length, 0)
    examples = [{name: values[row] for name, values in data.items()} for row in range(rows)]
    batches = RowBatches(grain.MapDataset.source(examples).repeat(None), rows)

    def run(every: int) -> list[float]:
        with tempfile.TemporaryDirectory() as folder:
            schedule = Schedule(
                train_steps=steps,
                eval_period=2 * steps,
                checkpoint_period=every,
                log_period=period,
            )
            training = Training(
                model_dir=folder,
                batch_size=rows,
                optimizer=AdamW(LEARNING_RATE),
                schedule=schedule,
                placement=ONE_DEVICE,
            )
            fit(objective, batches, lambda params: {"selection": 0.0}, training)
            return _step_seconds(Path(folder) / "metrics.jsonl")[1:]

    seconds: dict[str, list[float]] = {"with": [], "without": []}
    for number in range(rounds + 1):
        for name, every in (("with", period), ("without", 2 * steps)):
            windows = run(every)
            if number:  # the first of each warms up
                seconds[name] += windows
    with_, without = float(np.median(seconds["with"])), float(np.median(seconds["without"]))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(draw_weights(config, jax.random.key(0))))
    return {
        "parameters": parameters,
        "state_bytes": 12 * parameters,
        "batch": rows,
        "length": length,
        "period": period,
        "steps": steps,
        "step_seconds_with": with_,
        "step_seconds_without": without,
        "overhead": with_ / without - 1.0,
        "windows": seconds,
    }


def _step_seconds(path: Path) -> list[float]:
    lines: list[Mapping[str, Any]] = [json.loads(line) for line in path.read_text().splitlines()]
    return [line["step_seconds"] for line in lines if "step_seconds" in line]


@contextlib.contextmanager
def _without_cache() -> Iterator[None]:
    """No compiled program is taken from a cache on disk, whatever the environment says."""
    before = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
