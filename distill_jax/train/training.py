"""How a model is trained, whatever it is and whatever it learns from."""

import dataclasses

from distill_jax.configuration import setting
from distill_jax.errors import UserError
from distill_jax.parallel.mesh import Placement
from distill_jax.train.optimizers import Adafactor, AdamW, Optimizer


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How long to train and how often to look.

    `patience` counts evaluations without a better dev score; None trains to the end. Periods are
    in steps (`checkpoint_period` None: that of evaluations); there is an evaluation and a
    checkpoint after the last step in any case. `profile_steps` (A, B) writes a profiler trace of
    the steps A to B, counted from 1, to `MODEL_DIR/profile`. `verbose` prints a line every `log_period` steps
    and for every evaluation, in place of one line of progress (`train.reporting`). Raises `UserError` if a
    number is too small, or those steps are not all within the run.
    """

    train_steps: int = setting(macro="TRAIN_STEPS", free=True, extent=True)
    eval_period: int = setting(500, macro="EVAL_PERIOD", free=True, extent=True)
    checkpoint_period: int | None = setting(None, macro="CHECKPOINT_PERIOD", free=True)
    log_period: int = setting(50, macro="LOG_PERIOD", free=True)
    patience: int | None = setting(None, macro="PATIENCE", free=True, extent=True)
    profile_steps: tuple[int, int] | None = setting(None, macro="PROFILE_STEPS", free=True)
    verbose: bool = setting(False, macro="VERBOSE", free=True)

    @property
    def saves_every(self) -> int:
        """Steps between checkpoints."""
        return self.eval_period if self.checkpoint_period is None else self.checkpoint_period

    def __post_init__(self) -> None:
        for name in ("train_steps", "eval_period", "checkpoint_period", "log_period", "patience"):
            value, least = getattr(self, name), 0 if name == "train_steps" else 1
            if value is not None and value < least:
                raise UserError(f"Schedule: {name} is {value}; it must be at least {least}")
        if self.profile_steps is not None:
            first, last = self.profile_steps
            if not 1 <= first <= last:
                raise UserError(
                    f"Schedule: profile_steps is {first}:{last}; give the first step, from 1, and "
                    "the last"
                )
            if last > self.train_steps:
                raise UserError(
                    f"Schedule: profile_steps is {first}:{last}, but the run ends with step "
                    f"{self.train_steps}; choose steps within it"
                )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """How a run trains.

    Attributes:
        model_dir: the run's folder: checkpoints, metrics, prepared data, the model.
        batch_size: rows of a step.
        optimizer: with its learning rate.
        schedule: how long, and how often to look.
        accumulate: micro-batches that a batch is cut into, one computed after the other:
            activations take that much less memory, and the step is the same.
        eval_batch_size: sentences of the dev split that are tagged at a time.
        seed: of initial parameters, the order of data, and dropout.
        placement: over which devices.

    Raises:
        UserError: `accumulate` is below 1.
    """

    model_dir: str = setting(macro="MODEL_DIR", free=True)
    batch_size: int = setting(macro="BATCH_SIZE")
    optimizer: Optimizer = setting(part=(AdamW, Adafactor))
    schedule: Schedule = setting()
    accumulate: int = setting(1, macro="ACCUMULATE", free=True)
    eval_batch_size: int = setting(32, macro="EVAL_BATCH_SIZE", free=True)
    seed: int = setting(0, macro="SEED")
    placement: Placement = setting(Placement(), free=True)

    def __post_init__(self) -> None:
        if self.accumulate < 1:
            raise UserError(f"ACCUMULATE is {self.accumulate}; it must be at least 1")
