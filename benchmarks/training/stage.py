"""A step of XtremeDistil's first stage, its teacher within it, against the rate of large matrix products.

    python benchmarks/training/stage.py --json stage.json

The teacher has MiniLM's size (6 layers of 384, random weights), the student is the paper's BiLSTM with words'
vectors of 100; a batch has 32 sentences of 16 words and 24 subwords, without padding. FLOPs are those of the
step's matrix products, counted from its jaxpr; the product that they are compared with is timed in turns with
the step. The teacher alone, a forward pass, is timed beside it.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a file: what is imported from is the checkout
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import jax
import numpy as np
from flax import linen as nn
from rich.console import Console

from benchmarks.common import tables
from benchmarks.common.environment import environment
from benchmarks.common.timing import Patience, square_product
from benchmarks.training.steps import LEARNING_RATE, ONE_DEVICE, time_in_turns
from distill_jax.distill.states import StateDistillation
from distill_jax.distill.word_teacher import WordTeacher
from distill_jax.models.bert import BertTagger
from distill_jax.models.bert_config import BertConfig
from distill_jax.models.bilstm import BiLSTMConfig, BiLSTMTagger
from distill_jax.train.flops import matrix_flops
from distill_jax.train.optimizers import adamw
from distill_jax.train.state import abstract_frozen, abstract_state, create_state, shardings_of
from distill_jax.train.step import compile_step

WORDS, SUBWORDS, CHARACTERS, TAGS = 16, 24, 10, 41
SHARE = 0.6


def make_objective(*, quick: bool) -> StateDistillation:
    """Layer 6 of the teacher for the output of the student's BiLSTM."""
    small = {"d_model": 16, "d_ff": 32, "num_heads": 2, "num_layers": 1} if quick else {}
    teacher = BertConfig(vocab_size=30_522, num_tags=TAGS, **small)
    student = BiLSTMConfig(num_words=4_000, num_chars=80, num_tags=TAGS, word_dim=100)
    return StateDistillation(
        BiLSTMTagger(student),
        ("word_ids", "char_ids"),
        WordTeacher(BertTagger(teacher), ("teacher_tokens", "first")),
        pairs=((1, teacher.num_layers),),
        widths=((2 * student.hidden, teacher.d_model),),
        measure="kl",
    )


def make_batch(rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Random words and subwords; every other word has two."""
    rng = np.random.default_rng(seed)
    first = np.flatnonzero(np.arange(SUBWORDS) % 3 != 2).astype(np.int32)
    assert len(first) == WORDS
    return {
        "word_ids": rng.integers(2, 4_000, (rows, WORDS)).astype(np.int32),
        "char_ids": rng.integers(2, 80, (rows, WORDS, CHARACTERS)).astype(np.int32),
        "teacher_tokens": rng.integers(1_000, 30_000, (rows, SUBWORDS)).astype(np.int32),
        "first": np.tile(first, (rows, 1)),
        "tags": np.zeros((rows, WORDS), np.int32),
        "tag_weights": np.ones((rows, WORDS), np.float32),
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds, FLOPs, and their share of the rate of a matrix product."""
    objective, optimizer = make_objective(quick=options.quick), adamw(LEARNING_RATE)
    batch, place = jax.device_put(make_batch(options.batch)), ONE_DEVICE.place()
    assert place.mesh is not None, "a placement makes a mesh"
    frozen = jax.jit(lambda key: nn.unbox(objective.init_frozen(key)))(jax.random.key(1))
    shardings = shardings_of(abstract_state(objective, optimizer, place.mesh))
    frozen_shardings = shardings_of(abstract_frozen(objective, place))
    step = compile_step(objective, optimizer, place, shardings, frozen_shardings=frozen_shardings)
    state = create_state(objective, optimizer, place.mesh, 0)
    key = jax.random.key(0)

    def states(frozen: Any, batch: Any) -> Any:
        return objective.teacher.states(frozen, batch)[-1]

    teacher = jax.jit(states)
    works = {
        "step": matrix_flops(jax.make_jaxpr(step)(state, batch, key, frozen)),
        "teacher alone": matrix_flops(jax.make_jaxpr(states)(frozen, batch)),
    }

    def train() -> Any:
        nonlocal state
        state, metrics = step(state, batch, key, frozen)
        return metrics

    product, operations = square_product(256 if options.quick else 2048, "float32")
    functions = {"step": train, "teacher alone": lambda: teacher(frozen, batch), "": product}
    clocks = time_in_turns(
        functions, Patience(options.rounds, 0.0 if options.quick else 1.0, 600.0)
    )
    rate = operations / clocks[""].wall.median
    rows = [
        {
            "name": name,
            "seconds": clocks[name].wall.median,
            "gflop": work / 1e9,
            "share_of_matrix_rate": work / clocks[name].wall.median / rate,
        }
        for name, work in works.items()
    ]
    share = rows[0]["share_of_matrix_rate"]
    target = tables.at_least("step: share of the matrix rate", share, SHARE)
    return {"batch": options.batch, "matrix_flops": rate, "rows": rows, "targets": [target]}


def main() -> int:
    """Exit code 1 if the target is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--batch", type=int, default=32, help="sentences (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="tiny models, to try it out")
    parser.add_argument("--json", type=Path, help="writes everything measured")
    options = parser.parse_args()
    results = {"environment": environment(options), **measure(options)}
    console = Console()
    console.print(f"a large matrix product: {results['matrix_flops'] / 1e9:,.0f} GFLOP/s")
    for row in results["rows"]:
        console.print(
            f"{row['name']}: {1e3 * row['seconds']:.1f} ms, {row['gflop']:.2f} GFLOP, "
            f"{100 * row['share_of_matrix_rate']:.0f}% of that rate"
        )
    [target] = results["targets"]
    met = "met" if target["met"] else "missed"
    console.print(f"{target['what']}: {target['value']:.2f} (at least {target['target']}: {met})")
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=2, default=str) + "\n", "utf-8")
    return int(not target["met"])


if __name__ == "__main__":
    raise SystemExit(main())
