"""Stages of a student's training, as data: (loss, sentences, what is trained, when it ends)."""

import dataclasses
from collections.abc import Sequence
from typing import Literal, NamedTuple

from distill_jax.configuration import setting
from distill_jax.distill.logits import LogitRegression
from distill_jax.distill.states import StateMatching
from distill_jax.distill.tags import DistillationWeights, TagLoss
from distill_jax.errors import UserError
from distill_jax.kinds.base import ParameterGroup
from distill_jax.train.training import Training

Sentences = Literal["gold", "silver", "all"]
_SENTENCES = ("gold", "silver", "all")
Measure = Literal["f1", "loss"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage.

    Attributes:
        loss: of tags or log-odds (a `TagLoss`), or of hidden states.
        sentences: `gold` ones with their tags, `silver` ones, which the teacher tags, or `all`.
        trained: the groups of parameters that are trained, from the top down (`output`, `layer_N` …
            `layer_1`, `embeddings`); None: all that the loss depends on.
        unfreezing: gradually: first the topmost of these groups alone, then with the next, …, a phase
            each, which starts from the best parameters of the one before.
        selection: what a phase's best parameters are, and when its patience ends: those of the best F1 on
            dev, or of the least loss on silver sentences held out of the stage. A stage that imitates
            is judged better by these: fifty dev sentences tell students of 78 and 82 apart by luck alone.
            A stage of states is judged by its loss on dev sentences in any case.
        training: optimizer, batch size, and when each phase ends: after so many steps, or by its patience
            when dev scores get no better.

    Raises:
        UserError: `sentences` or `selection` is none of these, or `trained` is empty.
    """

    loss: TagLoss | StateMatching = setting(
        DistillationWeights(), part=(DistillationWeights, LogitRegression, StateMatching)
    )
    sentences: Sentences = setting("all", macro="SENTENCES")
    trained: Sequence[str] | None = setting(None, macro="TRAINED")
    unfreezing: bool = setting(False, macro="UNFREEZING")
    selection: Measure = setting("f1", macro="SELECTION")
    training: Training = setting()

    def __post_init__(self) -> None:
        if self.selection not in ("f1", "loss"):
            raise UserError(f"SELECTION is {self.selection!r}; it must be one of f1, loss")
        if self.sentences not in _SENTENCES:
            raise UserError(
                f"SENTENCES is {self.sentences!r}; it must be one of {', '.join(_SENTENCES)}"
            )
        if self.trained is not None and not self.trained:
            raise UserError("TRAINED is empty; name the groups that are trained, or leave it out")


class Phase(NamedTuple):
    """A part of a stage, trained in a folder of its own, and the groups that it trains."""

    folder: str
    groups: tuple[ParameterGroup, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the groups."""
        return tuple(group.name for group in self.groups)

    @property
    def paths(self) -> tuple[str, ...]:
        """Of all that is trained."""
        return tuple(path for group in self.groups for path in group.paths)


def phases_of(
    stage: Stage, number: int, groups: Sequence[ParameterGroup], top_state: int | None = None
) -> list[Phase]:
    """The phases of a stage, the `number`-th from 1.

    Args:
        stage: whose phases they are.
        number: of the stage.
        groups: of the student, from the top down (`Kind.groups`).
        top_state: the last state that the loss depends on; None: it is of the head's output.

    Raises:
        UserError: a group that is not there, or that the loss does not depend on.
    """
    # Behind the head there is a group for each state, last first.
    reached = groups if top_state is None else groups[len(groups) - 1 - top_state :]
    chosen = [group for group in reached if stage.trained is None or group.name in stage.trained]
    for name in stage.trained or ():
        if name not in {group.name for group in groups}:
            known = ", ".join(group.name for group in groups)
            raise UserError(f"stage {number}: TRAINED names {name!r}; the student has {known}")
        if name not in {group.name for group in reached}:
            raise UserError(
                f"stage {number}: TRAINED names {name!r}, which the states that are matched do not "
                "depend on; leave it out"
            )
    if not stage.unfreezing:
        return [Phase(f"stage{number}", tuple(chosen))]
    return [
        Phase(f"stage{number}-phase{count}", tuple(chosen[:count]))
        for count in range(1, len(chosen) + 1)
    ]
