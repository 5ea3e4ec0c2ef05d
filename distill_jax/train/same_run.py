"""Whether a run that goes on is the one that was started: its settings, what it reads, the versions."""

import contextlib
import importlib.metadata
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from distill_jax.configuration import as_lines, differences, to_json
from distill_jax.errors import UserError
from distill_jax.files import only_one
from distill_jax.parallel import processes
from distill_jax.version import __version__


class Origin(NamedTuple):
    """What a run comes from, which must be the same in all processes and whenever it goes on.

    `run` is its configuration: a dataclass, or several by name. `inputs` are what it reads, by role, each
    with a hash of its content. `about` is a line on what it reads, for the person who watches.
    """

    run: Any
    inputs: Mapping[str, str] = {}
    about: str = ""

    @property
    def settings(self) -> Any:
        """The identity of the configuration, as JSON."""
        return to_json(self.run, identity=True)

    def to_json(self) -> dict[str, Any]:
        """As checkpoints keep it."""
        return {"settings": self.settings, "inputs": self.inputs}

    def agree_among_processes(self) -> None:
        """Raises `UserError` if another process has another configuration, other inputs or versions.

        What is free when a run goes on must be the same too: all compute one program, equally often.
        """
        processes.agree("configuration", "\n".join(as_lines(to_json(self.run))))
        processes.agree(
            "data or version", json.dumps({**self.inputs, **versions()}, indent=1, sort_keys=True)
        )

    def check_same(self, saved: Mapping[str, Any] | None, where: str) -> None:
        """Raises `UserError` naming the first setting or input that is not that of a saved origin.

        A setting or an input that only one of them has is a difference. `saved` is what `to_json`
        gave, None if the checkpoint says nothing; `where` is its place.
        """
        saved = saved or {}
        # As it would read back: tuples are lists there.
        settings = json.loads(json.dumps(self.settings))
        for difference in differences(saved.get("settings", {}), settings):
            raise UserError(
                f"{where}: this run was started with {difference}; use the settings it was started "
                "with, or another MODEL_DIR"
            )
        before = saved.get("inputs", {})
        changed = [
            name
            for name in dict.fromkeys([*before, *self.inputs])
            if before.get(name) != self.inputs.get(name)
        ]
        if changed:
            raise UserError(
                f"{where}: {', '.join(changed)}: no longer what this run was started with; put back "
                "what it read then, or train in another MODEL_DIR"
            )


NO_ORIGIN = Origin({})
"""Of a run that is described nowhere."""


@contextlib.contextmanager
def alone_in(directory: Path) -> Iterator[None]:
    """Keeps other runs out of a run's folder; a process that ends, however it does, lets go of it.

    Of the processes of one run the first alone holds the lock. Raises `UserError`, in all of them, if
    another run has it.
    """
    with contextlib.ExitStack() as stack:
        if not processes.from_first("lock", lambda: stack.enter_context(only_one(directory))):
            raise UserError(
                f"{directory}: another run is training there; wait until it has ended, or give "
                "another MODEL_DIR"
            )
        yield


def versions() -> dict[str, str]:
    """The versions that decide what a step computes."""
    return {
        "distill_jax": __version__,
        "jax": jax.__version__,
        "flax": importlib.metadata.version("flax"),
        "optax": importlib.metadata.version("optax"),
    }


def version_notes(saved: Mapping[str, str]) -> list[str]:
    """A line for what differs from `versions`: results may differ in their last bits."""
    now = versions()
    other = [
        f"{name} {old}, now {now.get(name)}" for name, old in saved.items() if old != now.get(name)
    ]
    if not other:
        return []
    return [f"the checkpoint is of {'; '.join(other)}: going on may differ in the last bits"]


def steps_notes(planned: int | None, now: int, done: int) -> list[str]:
    """A line if a run that goes on is to be of another length than when it was saved."""
    if planned is None or planned == now or done >= now:
        return []
    return [
        f"planned for {planned:,} steps and now for {now:,}: from step {done:,} on a learning rate that "
        "falls over the run falls as in one of the new length"
    ]
