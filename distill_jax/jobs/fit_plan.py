"""How `distill-jax fit` chooses steps, batch and the like: the rules, as functions of numbers alone.

What is wanted follows from the data, in passes over them as the recipes of `gin/runs/` and the study have
them (docs/results.md); what can be had from the time that is left and the rate of the first steps. A run
trains for the smaller of both, and not at all below a least number.
"""

import dataclasses
import math
from typing import NamedTuple

from distill_jax.errors import UserError

TEACHER_SHARE, LABEL_SHARE, STUDENT_SHARE = 0.5, 0.3, 0.8
"""Of the time that is left when each begins. What the student leaves is for scores, export and page."""

LEAST_MINUTES = 1.0
EVALUATIONS = 10
"""How often a run looks at dev sentences, where they take no more than `_EVALUATION_SHARE` of its time."""

_LEAST_LABEL_SHARE = 0.05
_EVALUATION_SHARE = 0.4
_FEWEST_EVALUATIONS = 2
_CALIBRATED = 0.08
"""MiniLM's ECE of 100 sentences is 0.04 to 0.08, that of T5s pre-trained here 0.08 to 0.19."""
FEW = 1000
"""Fewer labelled sentences are a few-shot set."""


GOLD_PHASES, GOLD_PART = 3, 6
"""Phases of a BiLSTM's stage of gold tags, each of this part of its steps before (`distil_then_gold.gin`)."""

GOLD_EVALUATIONS = 20
"""How often each of them looks at dev sentences."""


class Extent(NamedTuple):
    """How long a run trains, and how often it looks at dev sentences."""

    steps: int
    eval_period: int


class Wanted(NamedTuple):
    """Steps that a run should have, and below which it is of no use."""

    steps: int
    least: int


@dataclasses.dataclass(frozen=True)
class Rate:
    """Seconds that a run takes: to begin (reading, compiling), for a step, for the dev sentences.

    `compiling` is what more it takes to begin where it has other steps than are wanted: the learning rate's
    schedule is part of the programs, and those of the wanted steps are there already.
    """

    start: float
    step: float
    evaluation: float
    compiling: float = 0.0

    def seconds(self, steps: int, evaluations: int = _FEWEST_EVALUATIONS) -> float:
        """Of a whole run."""
        return self.start + steps * self.step + evaluations * self.evaluation

    def of_other_steps(self) -> "Rate":
        """Of a run that has other steps than are wanted."""
        return dataclasses.replace(self, start=self.start + self.compiling, compiling=0.0)


def teacher_batch(kind: str, train: int) -> int:
    """Sentences a step (of a T5: packed rows of about five)."""
    if kind == "t5":
        return 4 if train < FEW else 8
    return 8 if train < FEW else 16


def wanted_of_teacher(kind: str, train: int) -> Wanted:
    """Forty passes over few sentences, three over many; a T5 has mentions swapped, and takes longer."""
    batch = teacher_batch(kind, train)
    most = max(2000, 3 * train // batch)
    steps = min(max(500, 40 * train // batch), most)
    return Wanted(max(steps, 1000) if kind == "t5" else steps, 100)


def wanted_of_student(kind: str, sentences: int, *, then_gold: bool = False) -> Wanted:
    """Thirty passes over all its sentences of 16 a step, within 1,200 and 8,000 steps.

    A BERT has 5,000 at most, a student that ends with gold tags 3,000 before them.
    """
    most = 3000 if then_gold else 5000 if kind == "bert" else 8000
    return Wanted(min(max(1200, 30 * sentences // 16), most), 200)


def ends_with_gold(kind: str, train: int, silver: int) -> bool:
    """Whether a student that has a teacher learns the gold tags alone at its end.

    They are right where a teacher of few sentences is not (docs/results/few_shot.md).
    """
    return kind == "bilstm" and train < FEW and silver > 1


def gold_steps(steps: int) -> int:
    """Of each phase of the stage of gold tags, of a student of so many steps."""
    return max(math.ceil(steps / GOLD_PART), GOLD_EVALUATIONS)


def with_gold(rate: Rate) -> Rate:
    """The rate of a student that learns the gold tags at its end: what that takes at most, in its steps."""
    evaluations = GOLD_PHASES * GOLD_EVALUATIONS
    start = rate.start + evaluations * rate.evaluation
    step = rate.step * (1 + GOLD_PHASES / GOLD_PART)
    return dataclasses.replace(rate, start=start, step=step)


def student_learning_rate(kind: str) -> float:
    """That of the study, and of all labels (docs/results/full_data.md); a BERT's is lower."""
    return 1e-4 if kind == "bert" else 3e-3


class Teaching(NamedTuple):
    """How a student learns from its teacher's posteriors beside the tags.

    Attributes:
        kl_weight: λ.
        temperature: τ.
        both_sides: whether the student's logits are divided by τ too, and the KL term multiplied by τ²
            (Hinton et al.), or the teacher's scores alone are softened (as Farina et al. print it).
    """

    kl_weight: float
    temperature: float
    both_sides: bool


def teaching(train: int, ece: float | None) -> Teaching:
    """Posteriors as they are from a teacher that is as sure as it is right on dev, else softened ones.

    `ece` may be unknown. The softening of a teacher of few sentences, who is too sure of them, is that
    of the few-shot study (docs/recipes.md).
    """
    if ece is not None and ece < _CALIBRATED:
        return Teaching(1.0, 1.0, both_sides=True)
    return Teaching(1.0, 4.0, both_sides=False) if train < FEW else Teaching(1.0, 2.0, True)


def t5_learning_rate(width: int) -> float:
    """1e-4 for a T5 that was pre-trained at scale, 2e-3 for the small ones of `gin/runs/pretrain.gin`."""
    return 1e-4 if width >= 512 else 2e-3


def t5_lengths(longest: int) -> int:
    """Tokens of a packed row for sentences of up to so many words."""
    return next((length for words, length in ((40, 128), (100, 256)) if longest <= words), 512)


def extent(
    wanted: Wanted, rate: Rate, left: float, passed: float, share: float, *, first: bool = True
) -> Extent:
    """How long a run trains in its share of the seconds that are left.

    Args:
        wanted: the steps it should have.
        rate: as measured.
        left: seconds.
        passed: seconds of the whole job that have gone by.
        share: of what is left.
        first: whether nothing has been trained before; a later run has its least number of steps in any case,
            for what came before it would be in vain.

    Raises:
        UserError: not even the least number of steps is possible for the first; it says how many minutes
            would do.
    """
    seconds = share * left
    if not first:
        seconds = max(seconds, rate.of_other_steps().seconds(wanted.least))
    # What the wanted steps take may be less than the least with other programs.
    if rate.seconds(wanted.steps) <= seconds:
        return with_evaluations(wanted.steps, _evaluations(rate, wanted.steps, seconds))
    rate = rate.of_other_steps()
    if rate.seconds(wanted.least) > seconds:
        minutes = math.ceil((passed + rate.seconds(wanted.least) / share) / 60)
        raise UserError(
            f"--minutes {(passed + left) / 60:.3g} is too little here: {minutes} are needed for "
            f"{wanted.least} steps at {rate.step:.2g} s each, which is the least; give --minutes {minutes}"
        )
    evaluations = _evaluations(rate, wanted.least, seconds)
    possible = (seconds - rate.start - evaluations * rate.evaluation) / max(rate.step, 1e-9)
    # The least is possible with the fewest evaluations.
    return with_evaluations(_rounded(min(wanted.steps, max(possible, wanted.least))), evaluations)


def _evaluations(rate: Rate, steps: int, seconds: float) -> int:
    """How often a run of at least so many steps looks at dev sentences."""
    for_evaluation = min(
        _EVALUATION_SHARE * (seconds - rate.start), seconds - rate.seconds(steps, 0)
    )
    evaluations = math.floor(for_evaluation / max(rate.evaluation, 1e-9))
    return min(max(evaluations, _FEWEST_EVALUATIONS), EVALUATIONS)


def with_evaluations(steps: int, evaluations: int = EVALUATIONS) -> Extent:
    """An extent whose last step is one that is looked at."""
    return Extent(steps, max(math.ceil(steps / evaluations), 1))


def labelled(pool: int, seconds_each: float, left: float, whole: float) -> int:
    """How many sentences of a pool are labelled in their share of the time that is left.

    However little that is, they have a small part of the whole: without labels a teacher was trained in vain.
    """
    seconds = max(LABEL_SHARE * left, _LEAST_LABEL_SHARE * whole)
    return min(pool, math.floor(seconds / max(seconds_each, 1e-9)))


def check_minutes(minutes: float) -> None:
    """Raises `UserError` if nothing can be done in so many minutes, wherever it is."""
    if not minutes >= LEAST_MINUTES:
        raise UserError(
            f"--minutes {minutes:g} is too little to train anything; give {LEAST_MINUTES:g} or more (5 with "
            "a small BERT as the teacher)"
        )


def _rounded(steps: float) -> int:
    """Two digits, for people who read the Gin file."""
    unit = 10 ** max(len(str(int(steps))) - 2, 0)
    return int(steps) // unit * unit
