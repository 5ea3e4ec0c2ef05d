"""The settings of a study's folder: what its cells depend on, kept in `settings.json`.

They are the recipe of the study as JSON, steps and patience included, without what chooses the cells or
says where things lie. In place of the path of a checkpoint stands what its files hold.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from distill_jax.configuration import differences, to_json
from distill_jax.errors import UserError
from distill_jax.files import read_json_object, write_json
from distill_jax.model_dir.directory import model_hash, open_checkpoint
from distill_jax.study.recipe import Recipe

SETTINGS = "settings.json"
TEACHER = "teacher"
"""The part of the settings that a study must share with one whose teachers it takes over."""

_CHECKPOINT = "initial_checkpoint_path"
_SHOWN = 5


def settings_of(recipe: Recipe) -> dict[str, Any]:
    """The settings as JSON.

    Raises `UserError` if a checkpoint that a model starts from is not there, or is none.
    """
    settings = to_json(recipe, identity=True, extent=True)
    contents = {}
    for path in _values(settings, _CHECKPOINT):
        if path is not None and path not in contents:
            open_checkpoint(path)  # raises if it is none
            contents[path] = f"sha256 {model_hash(path)}"
    replaced: dict[str, Any] = _replaced(settings, contents)
    return replaced


def claim(folder: Path, settings: Mapping[str, Any]) -> None:
    """Makes a folder the study's, unless it is already; raises `UserError` as `check_folder` does."""
    check_folder(folder, settings)  # another process may have begun meanwhile
    if not (folder / SETTINGS).exists():
        write_json(folder / SETTINGS, settings)


def check_folder(folder: Path, settings: Mapping[str, Any]) -> None:
    """Raises `UserError` if a folder holds something else, or a study with other settings."""
    path = folder / SETTINGS
    # Looked at before the settings, which another process may be writing now, under a hidden name.
    names = {each.name for each in folder.iterdir()} if folder.is_dir() else set()
    foreign = any(name != "prepared" and not name.startswith(".") for name in names)
    if not path.exists():
        if foreign or (folder.exists() and not folder.is_dir()):
            raise UserError(f"{folder}: is not empty and not a study; choose another STUDY_DIR")
        return
    if different := _different(_read(path), settings):
        raise UserError(
            f"{folder}: holds a study with other settings: {different}; set them as they were, or "
            "choose another STUDY_DIR"
        )


def check_teachers(folder: Path, settings: Mapping[str, Any]) -> None:
    """Raises `UserError` if a folder holds no study, or its teachers were trained otherwise."""
    if not (folder / SETTINGS).exists():
        raise UserError(f"TEACHERS_OF: {folder} holds no study; give the STUDY_DIR of one")
    there, here = (
        {name: value for name, value in each.items() if name == TEACHER}
        for each in (_read(folder / SETTINGS), settings)
    )
    if different := _different(there, here):
        raise UserError(
            f"TEACHERS_OF: the teachers of {folder} have other settings: {different}; set them as "
            "they were, or leave TEACHERS_OF out"
        )


def _read(path: Path) -> dict[str, Any]:
    return read_json_object(path, "restore it, or choose another STUDY_DIR")


def _different(there: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What differs between the settings of a folder and the present ones, up to five of them."""
    different = list(differences(there, now))
    shown = ", ".join(
        f"{name} (there {before}, now {after})" for name, before, after in different[:_SHOWN]
    )
    more = len(different) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def _values(settings: Any, name: str) -> Iterator[Any]:
    """The values of all fields of a name."""
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            if key == name:
                yield value
            yield from _values(value, name)
    elif isinstance(settings, list):
        for value in settings:
            yield from _values(value, name)


def _replaced(settings: Any, contents: Mapping[str, str]) -> Any:
    """With a checkpoint's content wherever its path stands: as a vocabulary, it may stand elsewhere."""
    if isinstance(settings, Mapping):
        return {key: _replaced(value, contents) for key, value in settings.items()}
    if isinstance(settings, list):
        return [_replaced(value, contents) for value in settings]
    return contents.get(settings, settings) if isinstance(settings, str) else settings
