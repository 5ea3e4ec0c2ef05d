"""Models trained together are those trained one after the other."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from distill_jax.data.distillation import Target, word_batches
from distill_jax.distill.tags import DistillationWeights, TaggerDistillation
from distill_jax.errors import UserError
from distill_jax.models.bilstm import BiLSTMConfig, BiLSTMTagger
from distill_jax.parallel.mesh import Placement, make_mesh
from distill_jax.train.loop import fit
from distill_jax.train.many import Member, fit_many, map_members, members_on_mesh, stack_padded
from distill_jax.train.optimizers import AdamW
from distill_jax.train.selection import Outcome
from distill_jax.train.training import Schedule, Training
from distill_jax.vocab import WordVocabulary

K = 5
DEVICES = jax.devices()[:2]
STEPS = Schedule(train_steps=9, eval_period=3)
OPTIMIZER = AdamW(0.02, weight_decay=0.1)


def targets(seed: int, count: int, longest: int) -> list[Target]:
    """Random sentences; those of another seed have other words."""
    rng = np.random.default_rng(seed)
    found = []
    for length in rng.integers(1, longest + 1, count):
        words = tuple(f"w{seed}{n}" for n in rng.integers(0, 9 + seed, length))
        scores = rng.normal(size=(length, K)).astype(np.float32) * 3
        found.append(Target(words, scores.argmax(-1).astype(np.int32), scores))
    return found


@dataclasses.dataclass(frozen=True)
class Case:
    """What a separate run is given."""

    seed: int
    kl_weight: float
    temperature: float
    targets: Sequence[Target]

    @property
    def vocabulary(self) -> WordVocabulary:
        return WordVocabulary.build(target.words for target in self.targets)

    def objective(self, rows: int | None = None, **weights: Any) -> TaggerDistillation:
        vocabulary = self.vocabulary
        config = BiLSTMConfig(
            num_words=rows or vocabulary.num_words,
            num_chars=16,
            num_tags=K,
            word_dim=6,
            char_dim=4,
            char_hidden=3,
            hidden=5,
            word_dropout=0.3,
        )
        weights = weights or {"kl_weight": self.kl_weight, "temperature": self.temperature}
        return TaggerDistillation(BiLSTMTagger(config), DistillationWeights(**weights))

    def batches(self) -> Any:
        return word_batches(self.targets, self.vocabulary, K, batch_size=4, seed=self.seed)


# Data of two sizes, vocabularies and length buckets; gold only, pseudo-labels, KD at two τ.
SMALL, LARGE = targets(1, 6, 7), targets(2, 30, 15)
CASES = [
    Case(0, 0.0, 1.0, SMALL),
    Case(1, 1.0, 2.0, SMALL),
    Case(1, 0.0, 2.0, LARGE),
    Case(4, 0.7, 10.0, LARGE),
    Case(5, 1.0, 1.0, [dataclasses.replace(target, scores=None) for target in SMALL]),
]


def dev_score(params: Any, rows: int) -> dict[str, float]:
    """Any function of the parameters that a member owns."""
    return {
        "selection": float(np.sin(50 * np.abs(params["word_embedding"]["embedding"][:rows]).sum()))
    }


def separate(case: Case, directory: Path) -> Outcome:
    rows = case.vocabulary.num_words
    return fit(
        case.objective(),
        case.batches(),
        lambda params: dev_score(jax.device_get(params), rows),
        Training(
            model_dir=str(directory),
            batch_size=4,
            optimizer=OPTIMIZER,
            schedule=dataclasses.replace(STEPS, checkpoint_period=100),
            seed=case.seed,
            placement=Placement(first_devices=1),
        ),
    )


def together(
    at_once: int | None = None, schedule: Schedule = STEPS, score: Any = dev_score
) -> list[Outcome]:
    rows = [case.vocabulary.num_words for case in CASES]
    members = [
        Member(
            f"member {number}",
            case.seed,
            case.batches(),
            {"kl_weight": case.kl_weight, "temperature": case.temperature},
        )
        for number, case in enumerate(CASES)
    ]

    def evaluate(stacked: Any) -> list[dict[str, float]]:
        stacked = jax.device_get(stacked)
        one = [jax.tree.map(lambda leaf, i=i: leaf[i], stacked) for i in range(len(CASES))]
        return [score(params, count) for params, count in zip(one, rows, strict=True)]

    return fit_many(
        lambda settings: CASES[0].objective(rows=max(rows) + 7, **settings),
        members,
        evaluate,
        optimizer=OPTIMIZER.make(),
        schedule=schedule,
        mesh=make_mesh(devices=DEVICES),
        at_once=at_once,
        say=lambda text: None,
    )


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[Outcome]:
    return [separate(case, tmp_path_factory.mktemp("run")) for case in CASES]


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [None, 8])
def test_equals_separate_runs(alone: list[Outcome], at_once: int | None) -> None:
    for case, one, found in zip(CASES, alone, together(at_once), strict=True):
        assert found.best_step == one.best_step
        np.testing.assert_allclose(
            found.metrics["selection"], one.metrics["selection"], rtol=0, atol=2e-3
        )
        rows = case.vocabulary.num_words
        own = found.params["word_embedding"]
        found.params["word_embedding"] = {"embedding": own["embedding"][:rows]}
        # Adam divides by the root of tiny second moments, which magnifies rounding.
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=2e-5),
            found.params,
            one.params,
        )
    # The members differ from each other by much more than that.
    first, second = (outcome.params["output"]["kernel"] for outcome in alone[:2])
    assert np.abs(first - second).max() > 0.1


def test_patience_is_each_members_own() -> None:
    calls = {"n": 0}
    script = [[3, 2, 1], [1, 2, 3, 2, 1], [1, 2, 3, 4, 5, 6], [1, 1, 1], [math.nan] * 2]

    def score(params: Any, rows: int) -> dict[str, float]:
        number, turn = calls["n"] % len(CASES), calls["n"] // len(CASES)
        calls["n"] += 1
        return {
            "selection": (script[number] + [9] * 6)[turn],
            "weight": float(params["output"]["bias"].sum()),
        }

    schedule = Schedule(train_steps=6, eval_period=1, patience=2)
    found = together(schedule=schedule, score=score)
    assert [outcome.best_step for outcome in found] == [1, 3, 6, 1, 2]
    assert [outcome.steps for outcome in found] == [3, 5, 6, 3, 2]
    for outcome in found[:4]:  # the parameters kept are those that were scored
        assert outcome.params["output"]["bias"].sum() == pytest.approx(outcome.metrics["weight"])


def test_a_diverging_member_is_named() -> None:
    bad = [dataclasses.replace(SMALL[0], scores=np.full_like(SMALL[0].scores, np.nan))]
    case = Case(0, 1.0, 1.0, bad)
    settings = {"kl_weight": 1.0, "temperature": 1.0}
    members = [
        Member("sound", 0, CASES[1].batches(), settings),
        Member("silver500 λ=1", 0, case.batches(), settings),
    ]
    with pytest.raises(UserError, match=r"silver500 λ=1: the loss is nan at step 1"):
        fit_many(
            lambda settings: CASES[0].objective(rows=40, **settings),
            members,
            lambda params: [{"selection": 0.0}] * 2,
            optimizer=OPTIMIZER.make(),
            schedule=Schedule(train_steps=3),
            mesh=make_mesh(devices=DEVICES),
        )


def test_members_are_padded_and_split() -> None:
    mesh = make_mesh(devices=jax.devices()[:4])
    assert [members_on_mesh(count, mesh) for count in (1, 4, 5)] == [4, 4, 8]
    stacked = stack_padded([{"a": np.ones((1, 2))}, {"a": np.ones((2, 1))}], 4)["a"]
    assert stacked.shape == (4, 2, 2)
    np.testing.assert_array_equal(stacked[0], stacked[3])
    np.testing.assert_array_equal(stacked[1], [[1, 0], [1, 0]])
    for at_once in (None, 1, 2, 3):
        doubled = map_members(lambda x: 2 * x, mesh, at_once=at_once)(np.arange(12.0))
        np.testing.assert_array_equal(doubled, 2 * np.arange(12.0))
        assert len(doubled.sharding.device_set) == 4
