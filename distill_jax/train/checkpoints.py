"""Orbax checkpoints of a run: the latest state for going on, the best parameters for keeping."""

import json
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from distill_jax.errors import UserError
from distill_jax.train.state import TrainState


def _abstract(tree: Any, shardings: Any) -> Any:
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        tree,
        shardings,
    )


class RunCheckpoints:
    """The checkpoints below `MODEL_DIR/checkpoints`.

    `latest/` holds the whole `TrainState`, the progress of model selection and the operative Gin
    config, saved asynchronously; `best/` holds the parameters with the best dev score so far.
    """

    def __init__(self, directory: Path, *, keep: int = 1) -> None:
        directory = directory.absolute()
        self._latest = ocp.CheckpointManager(
            directory / "latest",
            options=ocp.CheckpointManagerOptions(max_to_keep=keep, create=True),
            item_names=("state", "run"),
        )
        self._best = ocp.CheckpointManager(
            directory / "best",
            options=ocp.CheckpointManagerOptions(max_to_keep=1, create=True),
            item_names=("params", "run"),
        )

    def save(self, state: TrainState, run: dict[str, Any]) -> None:
        """Starts saving the state with JSON facts about the run; returns before it is written."""
        step = int(state.step)
        if step in self._latest.all_steps():
            return
        self._latest.save(
            step,
            args=ocp.args.Composite(state=ocp.args.StandardSave(state), run=ocp.args.JsonSave(run)),
        )

    def save_best(self, step: int, params: Any, run: dict[str, Any]) -> None:
        """Keeps these parameters in place of the best before them."""
        if step in self._best.all_steps():
            return
        self._best.save(
            step,
            args=ocp.args.Composite(
                params=ocp.args.StandardSave(params), run=ocp.args.JsonSave(run)
            ),
        )

    def latest_step(self) -> int | None:
        """The step of the newest complete checkpoint."""
        return self._latest.latest_step()

    def restore(
        self, state: TrainState, shardings: TrainState
    ) -> tuple[TrainState, dict[str, Any]]:
        """The newest state, placed as `shardings` say, and the facts saved with it.

        Raises `UserError` if it does not match `state` (another model or optimizer) or cannot be
        read; never falls back to a fresh state.
        """
        step = self._latest.latest_step()
        found = _restore(
            self._latest,
            step,
            state=ocp.args.StandardRestore(_abstract(state, shardings)),
            run=ocp.args.JsonRestore(),
        )
        return found["state"], found["run"]

    def restore_best(self, params: Any, shardings: Any) -> tuple[Any, dict[str, Any]] | None:
        """The best parameters and the facts saved with them; None before the first evaluation."""
        step = self._best.latest_step()
        if step is None:
            return None
        found = _restore(
            self._best,
            step,
            params=ocp.args.StandardRestore(_abstract(params, shardings)),
            run=ocp.args.JsonRestore(),
        )
        return found["params"], found["run"]

    def wait(self) -> None:
        """Waits until everything begun is on disk."""
        self._latest.wait_until_finished()
        self._best.wait_until_finished()

    def close(self) -> None:
        """Waits, and releases the threads."""
        self.wait()
        self._latest.close()
        self._best.close()


def _restore(manager: ocp.CheckpointManager, step: int | None, **items: Any) -> Any:
    try:
        return manager.restore(step, args=ocp.args.Composite(**items))
    except (ValueError, KeyError, TypeError, FileNotFoundError, json.JSONDecodeError) as error:
        raise UserError(
            f"{manager.directory}/{step}: this checkpoint cannot be restored ({str(error)[:300]}); "
            "it is damaged or of another model: use the run's own Gin settings or another MODEL_DIR"
        ) from error
