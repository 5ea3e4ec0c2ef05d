"""What can be said of a run before JAX is imported: a missing macro, a task or path that is not there.

Only what is certain is said here; whoever builds and reads checks everything.
"""

import difflib
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from distill_jax.data.locations import check_local
from distill_jax.data.task_names import check_task_name
from distill_jax.errors import UserError
from distill_jax.interop.hf.foreign import check_is_checkpoint
from distill_jax.jobs.gin_files import REQUIRED, STUDIES, GinConfig, Macro, read_gin

_CHECKPOINTS = ("INITIAL_CHECKPOINT_PATH", "TEACHER_EMBEDDING", "TEACHER")
_PATHS = ("EMBEDDING_FILE", "TEACHER_LABELS")
_PLACES = {"data_dir", "directory", "modules"}
_CONFIG, _STORE = "config.json", "store.json"


class _AnyClasses:
    """In place of the dataclasses that files may name, which would import JAX: all there could be."""

    def __init__(self, but: Collection[str] = ()) -> None:
        self._but = but

    def __contains__(self, name: str) -> bool:
        return name not in self._but

    def has_field(self, name: str, field: str) -> bool:
        """Every one."""
        return True

    def fields(self, name: str) -> list[str]:
        """None is listed."""
        return []

    def import_module(self, name: str) -> None:
        """A user's module is imported later."""


def check_early(gin_files: Sequence[str], bindings: Sequence[str]) -> None:
    """Reads the files of a run and looks whether what they name is there.

    Raises:
        UserError: as `gin_files.read_gin`; a required macro is not given; no such task, file or folder.
    """
    config = read_gin(gin_files, bindings, _AnyClasses(but=STUDIES))
    _check_required(config, gin_files[-1])
    for name in (*_CHECKPOINTS, *_PATHS):
        path = _value(config, name)
        if isinstance(path, str):
            check_local(path, name)
            if name in _CHECKPOINTS:
                check_is_checkpoint(Path(path), _CONFIG)
                if (Path(path) / "model" / _CONFIG).is_file():
                    raise UserError(
                        f"{name} {path}: the directory of a run, not of a model; give {Path(path) / 'model'}"
                    )
            elif name == "TEACHER_LABELS" and not (Path(path) / _STORE).is_file():
                raise UserError(
                    f"{Path(path) / _STORE}: cannot be read (there is no such file); give the directory that "
                    "`label` has written"
                )
            elif not Path(path).exists():
                raise UserError(
                    f"{name} {path}: cannot be read (there is no such file or folder); correct it"
                )
    _check_tasks(config, [_value(config, "MIXTURE_OR_TASK_NAME")], "MODEL_DIR")


def check_study(gin_files: Sequence[str], bindings: Sequence[str]) -> None:
    """As `check_early`, of a study: its macros and data sets.

    Raises:
        UserError: as `gin_files.read_gin`; a required macro is not given; no such task or DATA_DIR.
    """
    config = read_gin(gin_files, bindings, _AnyClasses())
    _check_required(config, gin_files[-1])
    names = _value(config, "DATASETS")
    _check_tasks(config, names if isinstance(names, tuple | list) else [], "STUDY_DIR")


def check_files(gin_files: Sequence[str], bindings: Sequence[str]) -> None:
    """Reads the files alone. Raises `UserError` as `gin_files.read_gin`."""
    read_gin(gin_files, bindings, _AnyClasses())


def _check_tasks(config: GinConfig, tasks: Iterable[Any], folder: str) -> None:
    """Refuses a name that no task has; modules of a user's may register any. `folder` names the run's."""
    if _value(config, "MIXTURE_OR_TASK_MODULES") is not None or config.imports_modules:
        return
    # Fields that are bound come before macros.
    if any(name == "Sources" and _PLACES & set(f) for (_, name), f in config.fields.items()):
        return
    data_dir = _value(config, "DATA_DIR")
    prepared = _value(config, "PREPARED_DATA_DIR") or Path(str(_value(config, folder)), "prepared")
    for task in tasks:
        if isinstance(task, str):
            check_task_name(task, data_dir if isinstance(data_dir, str) else None, Path(prepared))


def _check_required(config: GinConfig, file: str) -> None:
    for name, bound in config.macros.items():
        if bound.value != Macro(REQUIRED):
            continue
        unknown = [each for each in config.given if "." not in each and each not in config.in_files]
        if near := difflib.get_close_matches(name, unknown, n=1):
            raise UserError(
                f"--gin.{near[0]}: this run uses no macro of this name; did you mean {name}?"
            )
        if unknown:
            return  # names that no run uses come first, and which these are is not known yet
        raise UserError(f"gin: {name} is required by {file} and not given; add --gin.{name}=VALUE")


def _value(config: GinConfig, name: str) -> Any:
    """What a macro is bound to, through other macros; None where it is not bound."""
    for _ in range(len(config.macros)):
        bound = config.macros.get(name)
        if bound is None or not isinstance(bound.value, Macro):
            return None if bound is None else bound.value
        name = bound.value.name
    return None
