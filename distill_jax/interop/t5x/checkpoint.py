"""Checkpoints of t5x, read array by array."""

import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from distill_jax.errors import UserError
from distill_jax.interop.hf.layout import Parameter
from distill_jax.interop.t5x.config import NOTHING_SAID, Unsaid, config_from_shapes, with_unsaid
from distill_jax.interop.t5x.layout import (
    Names,
    Slot,
    check_layout,
    is_scanned,
    parameter_in,
    slots_of,
)
from distill_jax.interop.t5x.places import find_checkpoint, read_contents
from distill_jax.vocab import Vocabulary, vocabulary_beside

Params = dict[str, Any]
_FLOATS = ("float32", "bfloat16", "float16")


class T5xCheckpoint:
    """A checkpoint of t5x whose arrays have been found and checked, but not yet read.

    Args:
        directory: `checkpoint_N`, or the folder above it.
        step: N, where there are several; None: the last.
        said: what shapes cannot say.

    Attributes:
        path: of the checkpoint.
        config: of the T5, activations float32.
        unused: what the checkpoint holds and the model has no use for, with the reason.
        assumed: what had to be assumed of the configuration, in words.

    Raises:
        UserError: naming folder, array and remedy, if anything is missing, damaged or no T5's.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        step: int | None = None,
        said: Unsaid = NOTHING_SAID,
    ) -> None:
        self.path = find_checkpoint(Path(directory), step)
        contents = read_contents(self.path)
        self._arrays, self._halves = contents.target, contents.halves
        shapes = {names: array.shape for names, array in self._arrays.items()}
        config = config_from_shapes(shapes, str(self.path))
        self._scanned = is_scanned(shapes)
        for array in self._arrays.values():
            if array.dtype not in _FLOATS and not (self._halves and array.dtype == "uint16"):
                raise UserError(
                    f"{array.file}: array {array.name!r} is stored as {array.dtype}; float32, bfloat16 "
                    "and float16 are read (uint16 before version 3, when it was bfloat16)"
                )
        if wrong := check_layout(shapes, config, scanned=self._scanned):
            fault, names = wrong
            raise UserError(
                f"{self.path}: array {'/'.join(('target', *names))!r} {fault}; the checkpoint is "
                "incomplete, or of another model"
            )
        places = (Path(directory), self.path, self.path.parent, self.path.parent.parent)
        self.config, self.assumed = with_unsaid(config, said, places)
        self.unused = _unused(contents.others)

    def parameters(self) -> Iterator[tuple[Parameter, Callable[[], np.ndarray]]]:
        """Every parameter with a function that reads it, in Hugging Face's layout.

        Those of one array follow one another: it is read when the first of them is, and forgotten
        when one of another array is. What is read is of the dtype that is stored (float32, bfloat16
        or float16).
        """
        last: dict[Names, np.ndarray] = {}

        def load(parameter: Parameter, slot: Slot) -> np.ndarray:
            if slot.names not in last:
                last.clear()  # before the next is read
                last[slot.names] = self._read(slot.names)
            array = parameter_in(last[slot.names], parameter, slot)
            return array.T if parameter.transposed else array

        for slots in slots_of(self.config, scanned=self._scanned).values():
            for parameter, slot in slots:
                yield parameter, functools.partial(load, parameter, slot)

    def read(self) -> Params:
        """All parameters, NumPy float32; those of scanned layers are views of one array."""
        params: Params = {}
        for names, slots in slots_of(self.config, scanned=self._scanned).items():
            array = np.asarray(self._read(names), np.float32)
            for parameter, slot in slots:
                level = params
                for name in parameter.path[:-1]:
                    level = level.setdefault(name, {})
                level[parameter.path[-1]] = parameter_in(array, parameter, slot)
        return params

    def embedding(self) -> np.ndarray:
        """The token embedding alone, float32[rows, width]."""
        return np.asarray(self._read(("token_embedder", "embedding")), np.float32)

    def vocabulary(self) -> Vocabulary:
        """What lies beside the checkpoint, for t5x keeps no vocabulary; bytes if it has ByT5's rows.

        Raises:
            UserError: there is none, or it cannot be read.
        """
        remedy = "t5x keeps none: copy it there or name its place"
        folders = (self.path.parent, self.path) if self.path.is_dir() else (self.path.parent,)
        return vocabulary_beside(folders, self.config.vocab_size, remedy)

    def _read(self, names: Names) -> np.ndarray:
        array = self._arrays[names].read()
        return array.view(ml_dtypes.bfloat16) if array.dtype == np.uint16 else array


def _unused(others: tuple[str, ...]) -> dict[str, str]:
    """Reasons for what is beside the parameters; the optimizer's many arrays are one entry."""
    groups: dict[str, tuple[int, str]] = {}
    for name in others:
        top = "/".join(name.split("/")[:2])
        reason = {
            "state/param_states": "the optimizer's state",
            "state/step": "the number of the step",
        }.get(top, "not a parameter")
        groups[top] = (groups.get(top, (0, ""))[0] + 1, reason)
    return {
        name if count == 1 else f"{name}/… ({count})": reason
        for name, (count, reason) in groups.items()
    }
