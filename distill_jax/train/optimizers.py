"""Optimizers and learning-rate schedules, from optax, under names that Gin files use."""

import gin
import optax

from distill_jax.errors import UserError


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
    return optax.chain(*steps, optax.adamw(learning_rate, b1=b1, b2=b2, weight_decay=weight_decay))


@gin.configurable
def adafactor(
    learning_rate: optax.Schedule | float = gin.REQUIRED,
    decay_rate: float = 0.8,
    clip_norm: float | None = None,
    multiply_by_parameter_scale: bool = True,
    min_dim_size_to_factor: int = 128,
) -> optax.GradientTransformation:
    """Adafactor as T5 uses it: factored second moments, steps relative to the parameter's scale.

    Second moments are factored over two axes of at least `min_dim_size_to_factor` each.
    """
    steps = [] if clip_norm is None else [optax.clip_by_global_norm(clip_norm)]
    return optax.chain(
        *steps,
        optax.adafactor(
            learning_rate,
            decay_rate=decay_rate,
            multiply_by_parameter_scale=multiply_by_parameter_scale,
            min_dim_size_to_factor=min_dim_size_to_factor,
        ),
    )
