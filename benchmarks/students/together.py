"""Many BiLSTM students in one program against one after the other, in one run.

    python benchmarks/students/together.py --json students.json

5 seeds × 2 λ of the paper's BiLSTM on 100 gold and 500 silver sentences of the embedded data, with
50 dev sentences. One after the other is `train.loop.fit`, as `distill-jax train` runs it, on one
device; together is `train.many.fit_many`, whose members are split over as many CPU devices as there
are cores. Both have a cache of compiled programs that is empty at first. Each figure is given with
and without the time spent on tracing and compiling, and the bare step is timed beside them: the
compiled steps alone, on batches made before.
"""

import argparse
import contextlib
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a file: what is imported from is the checkout
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import jax
import numpy as np
from jax.experimental.compilation_cache import compilation_cache

from distill_jax.data import demo
from distill_jax.data.distillation import Target, word_batches
from distill_jax.distill.tags import DistillationWeights, TaggerDistillation
from distill_jax.files import atomic_write
from distill_jax.inference import WordPredictor
from distill_jax.jobs.evaluation import dev_evaluation
from distill_jax.kinds.bilstm_together import StudentEvaluation
from distill_jax.models.bilstm import BiLSTMConfig, BiLSTMTagger
from distill_jax.parallel.mesh import Placement, batch_sharding, make_mesh
from distill_jax.train.loop import fit
from distill_jax.train.many import Member, fit_many, make_steps, stack_padded
from distill_jax.train.optimizers import AdamW
from distill_jax.train.state import create_state
from distill_jax.train.step import make_step
from distill_jax.train.training import Schedule, Training
from distill_jax.vocab import WordVocabulary

GOLD, SILVER, DEV, BATCH, TARGET = 100, 500, 50, 16, 3.0


class Compiling:
    """Seconds spent on tracing, lowering and compiling since the last look."""

    def __init__(self) -> None:
        self._seconds = 0.0
        jax.monitoring.register_event_duration_secs_listener(self._hear)

    def _hear(self, event: str, seconds: float, **_: Any) -> None:
        if event in (
            "/jax/core/compile/jaxpr_trace_duration",
            "/jax/core/compile/jaxpr_to_mlir_module_duration",
            "/jax/core/compile/backend_compile_duration",
            "/jax/compilation_cache/cache_retrieval_time_sec",
        ):
            self._seconds += seconds

    def timed(self, function: Callable[[], Any]) -> dict[str, float]:
        """Wall time of a call, and what of it was compilation."""
        before, start = self._seconds, time.perf_counter()
        function()
        total = time.perf_counter() - start
        return {"seconds": total, "compiling": self._seconds - before}


class Work:
    """The data and the runs."""

    def __init__(self, steps: int, seeds: int) -> None:
        sentences = demo.generate("train", GOLD + SILVER)
        self.labels, self.dev = demo.LABELS, demo.generate("valid", DEV)
        rng = np.random.default_rng(0)
        self.targets = []
        for sentence in sentences:
            tags = self.labels.encode_iob2(sentence.tags or ())
            scores = rng.normal(size=(len(tags), self.labels.num_tags)).astype(np.float32)
            scores[np.arange(len(tags)), tags] += 8
            self.targets.append(Target(sentence.words, tags, scores))
        self.vocabulary = WordVocabulary.build(target.words for target in self.targets)
        self.module = BiLSTMTagger(
            BiLSTMConfig(
                num_words=self.vocabulary.num_words,
                num_chars=self.vocabulary.num_chars,
                num_tags=self.labels.num_tags,
            )
        )
        self.adamw = AdamW(1e-3, weight_decay=0.01)
        self.optimizer = self.adamw.make()
        self.schedule = Schedule(steps, eval_period=100, checkpoint_period=100)
        self.members = list(itertools.product(range(seeds), (0.0, 1.0)))
        self.alone = make_mesh(devices=jax.devices()[:1])
        self.mesh = make_mesh()

    def objective(self, kl_weight: Any) -> TaggerDistillation:
        return TaggerDistillation(self.module, DistillationWeights(kl_weight, 2.0))

    def batches(self, seed: int) -> Any:
        return word_batches(
            self.targets, self.vocabulary, self.labels.num_tags, batch_size=BATCH, seed=seed
        )

    def one_after_the_other(self) -> None:
        for seed, kl_weight in self.members:
            predictor = WordPredictor(self.module, self.vocabulary, self.labels)
            with tempfile.TemporaryDirectory() as directory:
                training = Training(
                    model_dir=directory,
                    batch_size=BATCH,
                    optimizer=self.adamw,
                    schedule=self.schedule,
                    seed=seed,
                    placement=Placement(first_devices=1),
                )
                fit(
                    self.objective(kl_weight),
                    self.batches(seed),
                    dev_evaluation(predictor, self.dev),
                    training,
                )

    def together(self) -> None:
        evaluation = StudentEvaluation(
            self.module, [self.vocabulary] * len(self.members), self.labels, self.dev, self.mesh
        )
        members = [
            Member(f"seed {seed}, λ {kl}", seed, self.batches(seed), {"kl_weight": kl})
            for seed, kl in self.members
        ]
        fit_many(
            lambda settings: self.objective(settings["kl_weight"]),
            members,
            evaluation.score,
            optimizer=self.optimizer,
            schedule=self.schedule,
            mesh=self.mesh,
        )

    def bare_steps(self, repeats: int) -> dict[str, float]:
        """Milliseconds of a step of all members: alone in turns, and together; best of `repeats`."""
        batches = [self.batches(0)[number] for number in range(10)]
        objective = self.objective(1.0)
        step = jax.jit(make_step(objective, self.optimizer), donate_argnums=0)
        one = create_state(objective, self.optimizer, self.alone, 0)
        count = len(self.members)
        split = batch_sharding(self.mesh)
        key = jax.random.key(0)
        keys = jax.device_put(jax.vmap(jax.random.key)(np.arange(count)), split)
        many = jax.device_put(stack_padded([jax.device_get(one)], count), split)
        steps = make_steps(lambda _: objective, self.optimizer, self.mesh)
        mapped = jax.jit(steps, donate_argnums=0)
        stacked = [jax.device_put(stack_padded([batch], count), split) for batch in batches]
        best = {"alone": np.inf, "together": np.inf}
        for turn in range(repeats + 1):  # the first compiles
            for name in best:
                start = time.perf_counter()
                for number in range(len(batches)):
                    if name == "alone":
                        one, _ = step(one, batches[number], key)
                    else:
                        many, _ = mapped(many, stacked[number], keys, {})
                jax.block_until_ready((one, many))
                took = (time.perf_counter() - start) / len(batches) * 1e3
                if turn:
                    best[name] = min(best[name], took * (count if name == "alone" else 1))
        return best


@contextlib.contextmanager
def empty_cache() -> Iterator[None]:
    """A cache of compiled programs as the command line has one, empty at first."""
    with tempfile.TemporaryDirectory() as directory:
        jax.config.update("jax_compilation_cache_dir", directory)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
        compilation_cache.reset_cache()
        yield
        jax.config.update("jax_compilation_cache_dir", None)
        compilation_cache.reset_cache()


def measure(steps: int, seeds: int, repeats: int) -> dict[str, Any]:
    work, compiling = Work(steps, seeds), Compiling()
    runs: dict[str, list[dict[str, float]]] = {"one_after_the_other": [], "together": []}
    for name in [*runs, *list(runs)[::-1]][: 2 * repeats]:
        with empty_cache():
            runs[name].append(compiling.timed(getattr(work, name)))
        print(name, runs[name][-1], flush=True)
    best = {
        name: {
            "with_compiling": min(run["seconds"] for run in found),
            "without_compiling": min(run["seconds"] - run["compiling"] for run in found),
        }
        for name, found in runs.items()
    }
    ratios = {
        kind: best["one_after_the_other"][kind] / best["together"][kind]
        for kind in ("with_compiling", "without_compiling")
    }
    bare = work.bare_steps(4)
    return {
        "members": len(work.members),
        "steps": steps,
        "cores": os.cpu_count(),
        "devices": len(jax.devices()),
        "seconds": best,
        "times_faster": {**ratios, "bare_step": bare["alone"] / bare["together"]},
        "bare_step_milliseconds": bare,
        "target": TARGET,
        "runs": runs,
    }


def _lines(result: dict[str, Any]) -> Iterator[str]:
    yield f"{result['members']} students, {result['steps']} steps each, {result['cores']} cores"
    for kind in ("with_compiling", "without_compiling"):
        apart = result["seconds"]["one_after_the_other"][kind]
        joint = result["seconds"]["together"][kind]
        ratio = result["times_faster"][kind]
        met = "met" if ratio >= TARGET else "missed"
        yield (
            f"{kind.replace('_', ' ')}: {apart:.1f} s one after the other, {joint:.1f} s together: "
            f"{ratio:.2f} times faster (target {TARGET:g}: {met})"
        )
    bare = result["bare_step_milliseconds"]
    yield (
        f"bare step of all: {bare['alone']:.1f} ms one after the other, {bare['together']:.1f} ms "
        f"together: {result['times_faster']['bare_step']:.2f} times faster"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--repeats", type=int, choices=(1, 2), default=1)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    if jax.config.jax_platforms == "cpu" or not jax.config.jax_platforms:
        jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))
    result = measure(options.steps, options.seeds, options.repeats)
    if options.json:
        with atomic_write(options.json) as temporary:
            temporary.write_text(json.dumps(result, indent=2) + "\n")
    print("\n".join(_lines(result)))


if __name__ == "__main__":
    main()
