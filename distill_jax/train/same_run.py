"""Whether a checkpoint was made with the settings of now: Gin config, data, versions."""

import importlib.metadata
import re
from collections.abc import Mapping

import jax

from distill_jax.errors import UserError
from distill_jax.version import __version__

MAY_CHANGE = frozenset(
    {
        # How far to go, how often to look.
        "Schedule.train_steps",
        "Schedule.eval_period",
        "Schedule.checkpoint_period",
        "Schedule.log_period",
        "Schedule.patience",
        "Schedule.profile_steps",
        # Where things are.
        "prepared_data.directory",
        "prepared_data.data_dir",
        "TRAIN_STEPS",
        "MODEL_DIR",
    }
)
"""Bindings that a run may go on with changed, besides those that end in a name of `_MAY_CHANGE_IN_ANY`."""

_MAY_CHANGE_IN_ANY = frozenset({"model_dir", "eval_batch_size"})
_MAY_CHANGE_CONFIGURABLES = frozenset({"make_mesh", "logical_axis_rules", "StepOptions", "study"})
"""The mesh, and how a step is computed: other sums' orders, the same mathematics. And what a study
consists of, which compares its own settings, since cells may be added to it."""

_MACRO = re.compile(r"%(\w+)")


def check_same_config(saved: str, now: str, where: str) -> None:
    """Raises `UserError` naming the first binding in which two operative Gin configs differ.

    Only bindings in both are compared: what is operative depends on how far a run has come. Macros
    are replaced by their values, except those that may change, so it does not matter what they are
    called.
    """
    before, here = _bindings(saved), _bindings(now)
    for name in before:
        if name not in here or _may_change(name):
            continue
        old, new = _expanded(name, before), _expanded(name, here)
        if old != new:
            macro = _MACRO.fullmatch(here[name])
            raise UserError(
                f"{where}: this run was started with {macro[1] if macro else name} = {_short(old)} "
                f"and would go on with {_short(new)}; use the settings it was started with, or "
                "another MODEL_DIR"
            )


def check_same_inputs(saved: Mapping[str, str], now: Mapping[str, str], where: str) -> None:
    """Raises `UserError` naming what a run reads that is not what it was started with.

    Both are names with hashes of contents; only names in both are compared, since what a run is named
    to read is up to its Gin config.
    """
    changed = [name for name in saved if name in now and saved[name] != now[name]]
    if changed:
        raise UserError(
            f"{where}: {', '.join(changed)}: no longer what this run was started with; put back what "
            "it read then, or train in another MODEL_DIR"
        )


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


def _may_change(name: str) -> bool:
    configurable, _, parameter = name.rpartition(".")
    # Names may carry scopes and modules before them: `teacher/train.mesh.make_mesh.data`.
    last = re.split(r"[/.]", configurable)[-1]
    return (
        not configurable  # a macro: compared where it is used
        or f"{last}.{parameter}" in MAY_CHANGE
        or parameter in _MAY_CHANGE_IN_ANY
        or last in _MAY_CHANGE_CONFIGURABLES
    )


def _bindings(text: str) -> dict[str, str]:
    """Name → value, as Gin's config strings write them, on one line each."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        start = re.match(r"([\w./]+) = ?(.*)", line)
        if start:
            name = start[1]
            found[name] = start[2].removesuffix("\\").strip()
        elif name:
            found[name] += " " + line.strip()
    return {name: value.strip() for name, value in found.items()}


def _expanded(name: str, bindings: Mapping[str, str], depth: int = 8) -> str:
    """The value with macros replaced, those that may change left as they are."""
    value = bindings[name]
    for _ in range(depth):
        changed = _MACRO.sub(
            lambda macro: macro[0] if macro[1] in MAY_CHANGE else bindings.get(macro[1], macro[0]),
            value,
        )
        if changed == value:
            break
        value = changed
    return value


def _short(value: str) -> str:
    return value if len(value) <= 60 else f"{value[:57]}…"
