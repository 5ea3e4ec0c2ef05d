"""Optimizers and learning-rate schedules, from optax, under names that Gin files use."""

from typing import Any

import gin
import jax
import optax
from flax import linen as nn

from distill_jax.errors import UserError
from distill_jax.models.stacking import STACKED
from distill_jax.train.learning_rate import with_learning_rate


@gin.configurable
def warmup_cosine(
    peak: float = gin.REQUIRED,
    steps: int = gin.REQUIRED,
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


@gin.configurable
def constant(value: float = gin.REQUIRED, warmup_steps: int = 0) -> optax.Schedule:
    """`value` after a linear warm-up."""
    return optax.warmup_constant_schedule(0.0 if warmup_steps else value, value, warmup_steps)


@gin.configurable
def adamw(
    learning_rate: optax.Schedule | float = gin.REQUIRED,
    weight_decay: float = 0.0,
    b1: float = 0.9,
    b2: float = 0.999,
    clip_norm: float | None = 1.0,
) -> optax.GradientTransformation:
    """AdamW after clipping by the global norm."""
    steps = [] if clip_norm is None else [optax.clip_by_global_norm(clip_norm)]
    chain = optax.chain(*steps, optax.adamw(learning_rate, b1=b1, b2=b2, weight_decay=weight_decay))
    return with_learning_rate(chain, learning_rate)


@gin.configurable
def adafactor(
    learning_rate: optax.Schedule | float = gin.REQUIRED,
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
    return with_learning_rate(optax.chain(*steps, per_layer(scaled)), learning_rate)


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
