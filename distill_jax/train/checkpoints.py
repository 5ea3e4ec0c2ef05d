"""Orbax checkpoints of a run: the latest state for going on, the best parameters for keeping."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from distill_jax.errors import UserError
from distill_jax.files import sha256_json
from distill_jax.parallel import processes
from distill_jax.train.saving import saving
from distill_jax.train.state import TrainState

_CHECKSUM, _FACTS_HASH = "checksum", "facts_sha256"


class RunCheckpoints:
    """The checkpoints below `MODEL_DIR/checkpoints`; a context manager, since they hold threads.

    `latest/` holds the whole `TrainState`, the progress of model selection and the operative Gin
    config, saved asynchronously: the newest and, in case that one is damaged, the one before it.
    `best/` holds the parameters with the best dev score, and those that any checkpoint counts on: a
    run that goes on from it must find them, even if a later evaluation found better ones. What is
    damaged is moved to `damaged/`, once something better has been found.

    `notes` are lines for the person who watches.
    """

    def __init__(self, directory: Path, *, keep: int = 2) -> None:
        self._directory = directory = directory.absolute()
        self._latest = _manager(directory / "latest", "state", keep)
        self._best = _manager(directory / "best", "params", None)
        self._damaged = directory / "damaged"
        self._counted_on: dict[int, int] = {}
        self.notes: list[str] = []

    def save(self, state: TrainState, run: dict[str, Any]) -> None:
        """Starts saving the state with JSON facts about the run; returns before it is written.

        `run["selection"]["best_step"]` names the best parameters so far, 0 if there are none.
        """
        step = int(state.step)
        if step in self._latest.all_steps():
            return
        with saving(self._directory):
            # Or a crash could leave a checkpoint that counts on parameters which are not there.
            self._best.wait_until_finished()
            _save(self._latest, step, "state", state, run)
        self._counted_on[step] = run["selection"]["best_step"]

    def save_best(self, step: int, params: Any, run: dict[str, Any]) -> None:
        """Starts saving parameters better than all before them, with JSON facts."""
        self.prune()
        with saving(self._directory):
            _save(self._best, step, "params", params, run)

    def latest_step(self) -> int | None:
        """The step of the newest complete checkpoint."""
        return self._latest.latest_step()

    def facts(self) -> dict[str, Any] | None:
        """What was saved about the run with the newest checkpoint whose facts can be read."""
        for step in sorted(self._latest.all_steps(), reverse=True):
            run = self._facts_of(step)
            if run is not None:
                return run
        return None

    def restore(self, places: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """The newest sound state, placed as the shardings of `places` say, and its facts.

        Where the newest one cannot be read or has changed since it was written, the one before it is
        taken, and `notes` says so. Raises `UserError` if there is none, or none is sound and matches
        `places` (another model or optimizer does not); never falls back to a fresh state.
        """
        steps = sorted(self._latest.all_steps(), reverse=True)
        if not steps:
            raise UserError(f"{self._latest.directory}: there is no checkpoint; train first")
        refused: dict[int, UserError] = {}
        for step in steps:
            restored = None
            try:
                restored = _restore(self._latest, step, "state", places)
            except UserError as error:
                refused[step] = error
            # One process alone may have been unable to read its part.
            if processes.all_true(f"checkpoint {step}", restored is not None) and restored:
                self._put_aside(refused, step)
                self._count_on(step, restored[1])
                return restored
            refused.setdefault(step, _damaged(self._path(step), "another process cannot read it"))
        raise refused[steps[0]]

    def restore_best(self, step: int, places: Any) -> tuple[Any, dict[str, Any]]:
        """The parameters saved as best at `step` and the facts saved with them.

        Raises `UserError` as `restore` does, or if they are not there.
        """
        if step not in self._best.all_steps():
            raise UserError(
                f"{self._best.directory}/{step}: the best parameters of this run are missing; put "
                "them back, or train again in another MODEL_DIR"
            )
        return _restore(self._best, step, "params", places)

    def prune(self, needed: int = 0) -> None:
        """Waits until all is on disk; drops best parameters that no checkpoint counts on.

        Those of step `needed` are kept as well.
        """
        self.wait()
        there = set(self._latest.all_steps())
        counted_on = {needed} | {best for step, best in self._counted_on.items() if step in there}
        for step in self._best.all_steps():
            if step not in counted_on:
                self._best.delete(step)

    def wait(self) -> None:
        """Waits until everything begun is on disk. Raises `UserError` if the disk cannot take it."""
        with saving(self._directory):
            self._best.wait_until_finished()
            self._latest.wait_until_finished()

    def close(self) -> None:
        """Waits, and releases the threads. Raises `UserError` as `wait` does."""
        with saving(self._directory):
            try:
                self._best.close()
            finally:
                self._latest.close()

    def __enter__(self) -> "RunCheckpoints":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if processes.is_distributed() and not isinstance(
            error, (UserError, SystemExit, type(None))
        ):
            return  # a process may be gone, and closing would wait for it
        try:
            self.close()
        except Exception:
            # A save that failed too must not hide what stopped the run.
            if error is None:
                raise

    def _path(self, step: int) -> str:
        return f"{self._latest.directory}/{step}"

    def _facts_of(self, step: int) -> dict[str, Any] | None:
        try:
            arguments = ocp.args.Composite(run=ocp.args.JsonRestore())
            run = dict(self._latest.restore(step, args=arguments)["run"])
        except Exception:  # as in `_restore`, which says what is wrong
            return None
        if run.pop(_FACTS_HASH, None) != sha256_json(run):
            return None
        run.pop(_CHECKSUM, None)
        return run

    def _put_aside(self, refused: Mapping[int, UserError], step: int) -> None:
        """Moves checkpoints that are no good out of the way of those to come."""
        if not refused:
            return
        for bad, error in refused.items():
            reason = str(error).partition(": ")[2].partition("; ")[0]
            self.notes.append(
                f"{self._path(bad)}: {reason}; moved to {self._damaged}, going on from the checkpoint "
                f"before it, of step {step}"
            )
            if processes.is_first():
                self._damaged.mkdir(exist_ok=True)
                shutil.rmtree(self._damaged / str(bad), ignore_errors=True)
                shutil.move(self._path(bad), self._damaged / str(bad))
        processes.barrier("damaged checkpoints moved")
        self._latest.reload()

    def _count_on(self, step: int, run: Mapping[str, Any]) -> None:
        facts = {other: self._facts_of(other) for other in self._latest.all_steps() if other < step}
        facts[step] = dict(run)
        self._counted_on = {
            number: run["selection"]["best_step"] for number, run in facts.items() if run
        }


def _manager(directory: Path, item: str, keep: int | None) -> ocp.CheckpointManager:
    return ocp.CheckpointManager(
        directory,
        # What a kill left half-written has a temporary name, and is removed.
        options=ocp.CheckpointManagerOptions(
            max_to_keep=keep, create=True, cleanup_tmp_directories=True
        ),
        # Named here, so that metadata can be read before anything is saved or restored.
        item_handlers={item: ocp.StandardCheckpointHandler(), "run": ocp.JsonCheckpointHandler()},
    )


def _save(
    manager: ocp.CheckpointManager, step: int, item: str, tree: Any, run: dict[str, Any]
) -> None:
    facts = {**run, _CHECKSUM: int(_checksum(tree))}
    facts[_FACTS_HASH] = sha256_json(facts)
    arguments = {item: ocp.args.StandardSave(tree), "run": ocp.args.JsonSave(facts)}
    manager.save(step, args=ocp.args.Composite(**arguments))


def _restore(
    manager: ocp.CheckpointManager, step: int, item: str, places: Any
) -> tuple[Any, dict[str, Any]]:
    where = f"{manager.directory}/{step}"
    arguments = ocp.args.Composite(
        **{item: ocp.args.StandardRestore(places), "run": ocp.args.JsonRestore()}
    )
    try:
        _check_same_tree(manager.item_metadata(step)[item], places, where)
        restored = manager.restore(step, args=arguments)
        tree, run = restored[item], restored["run"]
        facts_hash = run.pop(_FACTS_HASH, None)
        facts_changed = facts_hash != sha256_json(run)
        expected = run.pop(_CHECKSUM, None)
    except UserError:
        raise
    # Whatever Orbax, TensorStore and JSON raise about damaged files: there is no common class.
    except Exception as error:
        raise _damaged(where, " ".join(str(error).split())[:300]) from error
    if facts_changed or expected != int(_checksum(tree)):
        raise _damaged(where, "its values are not those that were saved")
    return tree, run


def _damaged(where: str, reason: str) -> UserError:
    return UserError(
        f"{where}: this checkpoint is damaged ({reason}); put a copy of it in its place, or train "
        "again in another MODEL_DIR"
    )


def _check_same_tree(metadata: Any, places: Any, where: str) -> None:
    """Raises `UserError` with the first array in which a checkpoint and a model differ."""
    if metadata is None:
        return  # the item or its metadata are missing, as restoring will say
    there, here = _arrays(metadata.tree), _arrays(places)
    different = [
        name for name in {**here, **there} if there.get(name, "absent") != here.get(name, "absent")
    ]
    if different:
        # Parameters say more about what is wrong than what the optimizer keeps of them.
        name = min(different, key=lambda name: "opt_state" in name)
        raise UserError(
            f"{where}: this checkpoint is of another model or optimizer ({name} is "
            f"{there.get(name, 'absent')} there and {here.get(name, 'absent')} here); use the "
            "settings it was trained with, or another MODEL_DIR"
        )


def _arrays(tree: Any) -> dict[str, str]:
    """Path → type and shape, as `float32[2,3]`."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): (
            f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"
        )
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


@jax.jit
def _checksum(tree: Any) -> jax.Array:
    """The sum, modulo 2³², of all values' bits: uint32, the same on every mesh.

    Orbax notices missing bytes, not changed ones.
    """
    total = jnp.zeros((), jnp.uint32)
    for leaf in jax.tree.leaves(tree):
        bits = jax.lax.bitcast_convert_type(leaf, f"uint{8 * leaf.dtype.itemsize}")
        total += bits.astype(jnp.uint32).sum(dtype=jnp.uint32)
    return total
