"""Optimizers and learning-rate schedules: optax's, and dataclasses that say which with which numbers.

A configured optimizer knows its learning rate at any step, so that nothing has to be injected into
the optimizer's state (`optax.inject_hyperparams`), which checkpoints would then hold.
"""

import dataclasses
from typing import Any, Protocol

import jax
import optax
from flax import linen as nn

from distill_jax.configuration import setting
from distill_jax.errors import UserError
from distill_jax.models.stacking import STACKED


class Optimizer(Protocol):
    """What trains parameters, and how fast at each step."""

    def make(self) -> optax.GradientTransformation:
        """The optimizer itself."""

    def learning_rate_at(self, step: int) -> float:
        """The rate of step number `step`, counted from 1."""


@dataclasses.dataclass(frozen=True)
class WarmupCosine:
    """A learning rate that `warmup_cosine` describes."""

    peak: float = setting(macro="LEARNING_RATE")
    steps: int = setting(macro="TRAIN_STEPS", free=True, extent=True)
    warmup_steps: int = setting(200, macro="WARMUP_STEPS")
    final_fraction: float = setting(0.05)

    def make(self) -> optax.Schedule:
        """Updates made before → rate."""
        return warmup_cosine(self.peak, self.steps, self.warmup_steps, self.final_fraction)


@dataclasses.dataclass(frozen=True)
class Constant:
    """A learning rate that `constant` describes."""

    value: float = setting(macro="LEARNING_RATE")
    warmup_steps: int = setting(0, macro="WARMUP_STEPS")

    def make(self) -> optax.Schedule:
        """Updates made before → rate."""
        return constant(self.value, self.warmup_steps)


LearningRate = WarmupCosine | Constant | float


class _Rated:
    """What optimizers with a field `learning_rate` share."""

    learning_rate: LearningRate

    @property
    def _rate(self) -> optax.Schedule | float:
        rate = self.learning_rate
        return rate if isinstance(rate, int | float) else rate.make()

    def learning_rate_at(self, step: int) -> float:
        """See `Optimizer.learning_rate_at`."""
        rate = self._rate
        # A schedule counts the updates made before.
        return float(rate(step - 1) if callable(rate) else rate)


@dataclasses.dataclass(frozen=True)
class AdamW(_Rated):
    """AdamW after clipping by the global norm."""

    learning_rate: LearningRate = setting()
    weight_decay: float = setting(0.0, macro="WEIGHT_DECAY")
    b1: float = setting(0.9, macro="ADAM_B1")
    b2: float = setting(0.999, macro="ADAM_B2")
    clip_norm: float | None = setting(1.0, macro="CLIP_NORM")

    def make(self) -> optax.GradientTransformation:
        """See `Optimizer.make`."""
        return adamw(self._rate, self.weight_decay, self.b1, self.b2, self.clip_norm)


@dataclasses.dataclass(frozen=True)
class Adafactor(_Rated):
    """Adafactor as T5 uses it; see `adafactor`."""

    learning_rate: LearningRate = setting()
    decay_rate: float = setting(0.8)
    clip_norm: float | None = setting(None, macro="CLIP_NORM")
    multiply_by_parameter_scale: bool = setting(True)
    min_dim_size_to_factor: int = setting(128)

    def make(self) -> optax.GradientTransformation:
        """See `Optimizer.make`."""
        return adafactor(
            self._rate,
            self.decay_rate,
            self.clip_norm,
            self.multiply_by_parameter_scale,
            self.min_dim_size_to_factor,
        )


def warmup_cosine(
    peak: float,
    steps: int,
    warmup_steps: int = 200,
    final_fraction: float = 0.05,
) -> optax.Schedule:
    """Linear warm-up to `peak`, then a cosine down to `final_fraction * peak` at `steps`.

    The warm-up takes at most half of `steps`. Raises `UserError` if there are no steps.
    """
    if steps < 1 or warmup_steps < 0:
        raise UserError(
            f"warmup_cosine: steps {steps}, warmup_steps {warmup_steps}; use at least 1 step and a "
            "warm-up of at least 0"
        )
    warmup_steps = min(warmup_steps, steps // 2)
    return optax.warmup_cosine_decay_schedule(0.0, peak, warmup_steps, steps, final_fraction * peak)


def constant(value: float, warmup_steps: int = 0) -> optax.Schedule:
    """`value` after a linear warm-up."""
    return optax.warmup_constant_schedule(0.0 if warmup_steps else value, value, warmup_steps)


def adamw(
    learning_rate: optax.Schedule | float,
    weight_decay: float = 0.0,
    b1: float = 0.9,
    b2: float = 0.999,
    clip_norm: float | None = 1.0,
) -> optax.GradientTransformation:
    """AdamW after clipping by the global norm."""
    steps = [] if clip_norm is None else [optax.clip_by_global_norm(clip_norm)]
    own = optax.adamw(learning_rate, b1=b1, b2=b2, weight_decay=weight_decay)
    return optax.chain(*steps, own)


def adafactor(
    learning_rate: optax.Schedule | float,
    decay_rate: float = 0.8,
    clip_norm: float | None = None,
    multiply_by_parameter_scale: bool = True,
    min_dim_size_to_factor: int = 128,
) -> optax.GradientTransformation:
    """Adafactor as T5 uses it: factored second moments, steps relative to the parameter's scale.

    Second moments are factored over two axes of at least `min_dim_size_to_factor` each. Layers that
    are stacked (`models.stacking`) are each scaled alone, as if they were not.
    """
    steps = [] if clip_norm is None else [optax.clip_by_global_norm(clip_norm)]
    scaled = optax.adafactor(
        learning_rate,
        decay_rate=decay_rate,
        multiply_by_parameter_scale=multiply_by_parameter_scale,
        min_dim_size_to_factor=min_dim_size_to_factor,
    )
    return optax.chain(*steps, per_layer(scaled))


def per_layer(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """Applies an optimizer that looks at whole arrays to each layer of stacked ones by itself.

    Where nothing is stacked it is that optimizer, with its state.
    """
    mapped = optax.GradientTransformation(
        jax.vmap(optimizer.init),
        lambda updates, state, params=None: jax.vmap(optimizer.update)(updates, state, params),
    )

    def choose(tree: Any) -> optax.GradientTransformation:
        groups = set(jax.tree.leaves(_groups(tree)))
        if groups <= {_SINGLE}:
            return optimizer
        transforms = {group: optimizer if group == _SINGLE else mapped for group in groups}
        return optax.partition(transforms, _groups)

    return optax.GradientTransformation(
        lambda params: choose(params).init(params),
        lambda updates, state, params=None: choose(updates).update(updates, state, params),
    )


_SINGLE = "single"


def _groups(tree: Any) -> Any:
    """For every leaf or box, whether it is stacked, and how many layers then.

    Those of one number are mapped over together; encoder and decoder may have different ones.
    """
    stacked = jax.tree_util.DictKey(STACKED)

    def is_box(leaf: Any) -> bool:
        return isinstance(leaf, nn.Partitioned)

    def group(path: tuple[Any, ...], leaf: Any) -> str:
        value = leaf.unbox() if is_box(leaf) else leaf
        return f"{STACKED}_{value.shape[0]}" if stacked in path else _SINGLE

    # A box goes as a whole: one around a masked array would be of no shape.
    return jax.tree_util.tree_map_with_path(group, tree, is_leaf=is_box)
