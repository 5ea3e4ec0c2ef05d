"""The two layouts of a T5's layers: one subtree each, or stacked along a leading axis.

`layers_0`, `layers_1`, … is the layout of checkpoints, model directories and decoders; `layers`, each
leaf with a leading axis over the layers, that of `T5Config.scan_layers`. Converting is exact.
"""

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

STACKED = "layers"
_ONE = re.compile(r"layers_(\d+)")


def stack_layers(params: Mapping[str, Any]) -> dict[str, Any]:
    """Stacks `layers_0` … `layers_n` wherever they stand; other leaves are the same objects.

    `params` is a nested dictionary of arrays without boxes. NumPy arrays stay NumPy arrays. What is
    stacked already stays as it is.
    """
    layers, rest = {}, {}
    for name, value in params.items():
        if match := _ONE.fullmatch(name):
            layers[int(match[1])] = value
        else:
            rest[name] = stack_layers(value) if isinstance(value, Mapping) else value
    if layers:
        rest[STACKED] = jax.tree.map(_stack, *(layers[index] for index in range(len(layers))))
    return rest


def unstack_layers(params: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `stack_layers`; parameters that are not stacked come back as they are."""
    unstacked: dict[str, Any] = {}
    for name, value in params.items():
        if name == STACKED:
            for index in range(jax.tree.leaves(value)[0].shape[0]):
                unstacked[f"{STACKED}_{index}"] = take_layer(value, index)
        else:
            unstacked[name] = unstack_layers(value) if isinstance(value, Mapping) else value
    return unstacked


def take_layer(stacked: Any, index: int) -> Any:
    """One layer of a tree whose leaves have a leading axis over the layers."""
    return jax.tree.map(lambda leaf: leaf[index], stacked)


def _stack(*leaves: Any) -> Any:
    return np.stack(leaves) if isinstance(leaves[0], np.ndarray) else jnp.stack(leaves)
