"""Which parameters of a run are kept: those with the best dev score."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

Evaluate = Callable[[Any], dict[str, float]]
"""Parameters → dev metrics; `selection` among them is what model selection maximises.

The parameters are host arrays where several processes train: whoever evaluates places them."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The best parameters (host arrays), the dev metrics they had, and how the run went.

    Of several processes only the first has `params`; in the others they are None.
    """

    params: Any
    metrics: dict[str, float]
    best_step: int
    steps: int
    seconds: float


@dataclasses.dataclass
class Selection:
    """Model selection on the dev split."""

    best: float = -math.inf
    best_step: int = 0
    evaluations_since: int = 0

    def update(self, step: int, scores: Mapping[str, float]) -> bool:
        if scores["selection"] > self.best:
            self.best, self.best_step, self.evaluations_since = scores["selection"], step, 0
            return True
        self.evaluations_since += 1
        return False

    def stop(self, patience: int | None) -> bool:
        return patience is not None and self.evaluations_since >= patience
