"""Training some of a model's parameters, the others as they are.

What is not trained is an argument of the step beside a teacher's parameters: it has no gradient, no optimizer
state, no weight decay, and is in no checkpoint. It lies on the mesh by the rules of the state.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
from flax.traverse_util import flatten_dict, unflatten_dict

from distill_jax.train.objective import Objective, Sums, WithUntrained


@dataclasses.dataclass(frozen=True)
class PartlyTrained:
    """An objective of which the parameters below the paths `trained` are trained (`a/b`: all of `a/b/…`).

    Its parameters are those alone, and its frozen ones a `WithUntrained`.
    """

    objective: Objective
    trained: tuple[str, ...]

    def init(self, key: jax.Array) -> Any:
        """See `train.objective.Objective`."""
        return self.split(self.objective.init(key))[0]

    def init_frozen(self, key: jax.Array) -> WithUntrained:
        """See `train.objective.Objective`."""
        _, untrained = self.split(self.objective.init(key))
        return WithUntrained(untrained, self.objective.init_frozen(key))

    def loss(self, params: Any, frozen: WithUntrained, batch: Any, key: jax.Array | None) -> Sums:
        """See `train.objective.Objective`."""
        return self.objective.loss(merged(params, frozen.untrained), frozen.frozen, batch, key)

    def split(self, params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The parameters that are trained, and the others; `merged` puts them together again.

        Raises `ValueError` if a path names none.
        """
        flat = flatten_dict(params, sep="/")
        for prefix in self.trained:
            if not any(_below(path, prefix) for path in flat):
                raise ValueError(f"no parameter is below {prefix}")
        chosen = {path for path in flat if any(_below(path, prefix) for prefix in self.trained)}
        trained = {path: leaf for path, leaf in flat.items() if path in chosen}
        rest = {path: leaf for path, leaf in flat.items() if path not in chosen}
        return unflatten_dict(trained, sep="/"), unflatten_dict(rest, sep="/")


def merged(trained: Mapping[str, Any], untrained: Mapping[str, Any]) -> dict[str, Any]:
    """All parameters, of the two parts of them."""
    whole = {**flatten_dict(trained, sep="/"), **flatten_dict(untrained, sep="/")}
    return dict(unflatten_dict(whole, sep="/"))


def _below(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(f"{prefix}/")
