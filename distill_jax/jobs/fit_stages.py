"""The steps of `distill-jax fit`, each with a file that says what it was made with and what came of it.

A step is done when its file is there, whole. A run that goes on takes what is done as it is, if it was made
with the same settings, and does the rest: what a step leaves is written aside and renamed, or goes on
by itself (runs, label stores), so that a run may be killed anywhere.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from distill_jax.configuration import differences
from distill_jax.errors import UserError
from distill_jax.files import read_json_object, write_json

FOLDER = "fit"
_REMEDY = "give another --out, or delete the folder"
_SAID_BY = {
    "inputs.seed": "another --seed",
    "inputs.unlabelled": "other --unlabelled text",
    "inputs.text_words": "other --text_words",
    "inputs": "other labelled sentences",
    "teacher_sha256": "another --teacher",
    "teacher_steps": "other --teacher_steps",
    "student_steps": "other --steps",
    "student-start": "another --student or --vectors",
    "bindings": "other --gin options",
}
"""What a user did otherwise where settings differ; what others follow from comes first."""


class Stages:
    """The files `fit/NAME.json` of an output folder."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._folder = out / FOLDER

    def begin(self) -> None:
        """Removes what a killed process left half written.

        Raises `UserError` if the folder holds something that no `fit` has made.
        """
        if not self._folder.is_dir() and any(path.name != ".lock" for path in self._out.iterdir()):
            raise UserError(
                f"{self._out}: is not empty and was not made by distill-jax fit; give another --out"
            )
        self._folder.mkdir(exist_ok=True)
        for path in [*self._out.glob(".*"), *self._out.glob("*/.*")]:
            if ".tmp-" in path.name or ".old-" in path.name:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def done(self, name: str, settings: Mapping[str, Any]) -> dict[str, Any] | None:
        """What a step left that is done; None: it is not.

        Raises `UserError` saying what was done otherwise.
        """
        path = self._folder / f"{name}.json"
        if not path.exists():
            return None
        saved = read_json_object(path, _REMEDY)
        wanted = json.loads(json.dumps(settings))
        different = {each.name: each for each in differences(saved.get("settings"), wanted)}
        for setting, said in _SAID_BY.items():
            if any(f"{each}.".startswith(f"{setting}.") for each in different):
                raise UserError(f"{self._out}: was made with {said}; {_REMEDY}")
        for difference in different.values():
            raise UserError(f"{path}: was made with {difference}; {_REMEDY}")
        result: dict[str, Any] = saved.get("result", {})
        return result

    def do(
        self, name: str, settings: Mapping[str, Any], work: Callable[[], Mapping[str, Any]]
    ) -> dict[str, Any]:
        """What a step leaves, doing it now if it is not done."""
        result = self.done(name, settings)
        if result is None:
            result = json.loads(json.dumps(work()))
            write_json(
                self._folder / f"{name}.json", {"settings": dict(settings), "result": result}
            )
        return result
