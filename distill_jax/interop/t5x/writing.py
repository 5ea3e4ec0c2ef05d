"""Writes a T5 as a legacy checkpoint of t5x (version 3), array by array.

It holds `target` and `state/step`; `state/param_states`, the optimizer's state, is empty. Fine-tuning
starts from it with `RestoreCheckpointConfig.fallback_to_scratch = True` and
`assignment_map = ((r'^state/param_states.*$', None),)`.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from distill_jax.interop.hf.layout import Parameter
from distill_jax.interop.t5x.layout import slots_of, stored_shape
from distill_jax.interop.t5x.places import CHECKPOINT
from distill_jax.interop.t5x.zarr import write_zarr
from distill_jax.models.t5_config import T5Config

VERSION = 3


def write_checkpoint(
    folder: Path,
    config: T5Config,
    parameters: Iterable[tuple[Parameter, Callable[[], np.ndarray]]],
    step: int = 0,
) -> None:
    """Writes the files of `checkpoint_N`, holding one array in memory at a time.

    A T5 with a relative bias in each layer (umT5) is written as scalable_t5 has it, any other as
    t5x's T5.

    Args:
        folder: to write to, which is there.
        config: of the model.
        parameters: each with a function that loads it, in Hugging Face's layout.
        step: N.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    from flax.serialization import msgpack_serialize

    loads = {parameter.path: load for parameter, load in parameters}
    scanned = config.relative_bias_per_layer
    target: dict[str, Any] = {}
    for names, slots in slots_of(config, scanned=scanned).items():
        shape = stored_shape(config, slots, split=scanned)
        if slots[0][1].layer is None:
            array = _own_layout(slots[0][0], loads).reshape(shape)
        else:
            array = np.empty(shape, np.float32)
            for parameter, slot in slots:
                layer = array[:, slot.layer]
                layer[:] = _own_layout(parameter, loads).reshape(layer.shape)
        place = ".".join(("target", *names))
        metadata = write_zarr(folder / place, array)
        level = target
        for name in names[:-1]:
            level = level.setdefault(name, {})
        level[names[-1]] = {
            "driver": "zarr",
            "dtype": "float32",
            "kvstore": {"driver": "file", "path": f"{place}/"},
            "metadata": metadata,
        }
    state = {"step": np.asarray(step, np.int32), "param_states": {}}
    contents = {"version": VERSION, "optimizer": {"target": target, "state": state}}
    (folder / CHECKPOINT).write_bytes(msgpack_serialize(contents))


def _own_layout(
    parameter: Parameter, loads: dict[tuple[str, ...], Callable[[], np.ndarray]]
) -> np.ndarray:
    array = loads[parameter.path]()
    return array.T if parameter.transposed else array
