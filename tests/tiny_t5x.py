"""Tiny checkpoints of t5x in every layout, made without the code that is tested.

What t5x and Orbax write was looked at in checkpoints that they wrote: `../shared/t5x_checkpoints` and
`t5x/testdata` of https://github.com/google-research/t5x (April 2026).
"""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts
from flax.serialization import msgpack_serialize

from distill_jax.models.t5_config import T5Config
from tests.tiny import t5_params

V1_1 = T5Config(
    vocab_size=384,
    d_model=6,
    d_kv=2,
    d_ff=5,
    num_heads=3,
    num_encoder_layers=1,
    num_decoder_layers=2,
)
V1_0 = V1_1.replace(tied_embedding=True, activation="relu", gated=False)
UMT5 = V1_1.replace(relative_bias_per_layer=True)
CONFIGS = {"v1.0": V1_0, "v1.1": V1_1, "umT5": UMT5}

Tree = dict[str, Any]
_NOT_SYNCED = ts.Context({"file_io_sync": False})  # nothing is lost with it but a test's time
BUCKET = "t5x-dummy-bucket"


def target_of(config: T5Config, params: Mapping[str, Any] | None = None) -> Tree:
    """Parameters as t5x has them: scanned, with heads apart, where each layer has a relative bias."""
    params = t5_params(config) if params is None else params
    if not config.relative_bias_per_layer:
        return dict(params)
    scanned: Tree = {}
    for tower, content in params.items():
        layers = [content[name] for name in sorted(content) if name.startswith("layers_")]
        rest = {name: value for name, value in content.items() if not name.startswith("layers_")}
        scanned[tower] = rest
        if layers:
            rest[tower] = map_tree(functools.partial(_scanned, config), *layers)
    return scanned


def _scanned(config: T5Config, names: tuple[str, ...], *leaves: np.ndarray) -> np.ndarray:
    heads = (config.num_heads, config.d_kv)
    if names[-2] in ("query", "key", "value"):
        leaves = tuple(leaf.reshape(leaf.shape[0], *heads) for leaf in leaves)
    if names[-2] == "out":
        leaves = tuple(leaf.reshape(*heads, leaf.shape[1]) for leaf in leaves)
    return np.stack(leaves, axis=1)


def map_tree(function: Callable[..., Any], *trees: Any, names: tuple[str, ...] = ()) -> Any:
    """`function(names, leaf, …)` of every leaf of nested dictionaries."""
    if not isinstance(trees[0], Mapping):
        return function(names, *trees)
    return {
        name: map_tree(function, *(tree[name] for tree in trees), names=(*names, name))
        for name in trees[0]
    }


def train_state(target: Tree) -> Tree:
    """As t5x keeps it: parameters, and a little of an optimizer's state."""
    state = {"decoder": {"decoder_norm": {"scale": {"m": np.zeros(1, np.float32)}}}}
    return {"target": target, "state": {"step": np.int32(7), "param_states": state}}


def _zarr(folder: Path, array: np.ndarray, compressor: str) -> dict[str, Any]:
    folder.mkdir(parents=True)
    metadata = {
        "shape": list(array.shape),
        "chunks": [max(1, array.shape[0] // 2), *array.shape[1:]],  # several chunks a tensor
        "compressor": {"id": compressor, "level": 1},
    }
    store = ts.open(
        {
            "driver": "zarr",
            "dtype": array.dtype.name,
            "kvstore": {"driver": "file", "path": f"{folder}/"},
            "metadata": metadata,
        },
        create=True,
        context=_NOT_SYNCED,
    ).result()
    store.write(array).result()
    return metadata


def write_partitioned(
    folder: Path, tree: Tree, *, compressor: str = "gzip", driver: str = "file", version: int = 3
) -> None:
    """Legacy, parameters in zarr folders; other leaves lie inside the file."""
    folder.mkdir(parents=True)

    def leaf(names: tuple[str, ...], array: np.ndarray) -> Any:
        if names[0] != "target":
            return np.asarray(array)
        place = ".".join(names)
        store = {"driver": driver, "path": f"{place}/"}
        if driver == "gcs":
            store["bucket"] = BUCKET
        return {
            "driver": "zarr",
            "dtype": array.dtype.name,
            "kvstore": store,
            "metadata": _zarr(folder / place, array, compressor),
        }

    content = {"version": version, "optimizer": map_tree(leaf, tree)}
    (folder / "checkpoint").write_bytes(msgpack_serialize(content))


def write_unpartitioned(folder: Path, tree: Tree) -> None:
    """Legacy, everything inside the file."""
    folder.mkdir(parents=True)
    content = map_tree(lambda names, array: np.asarray(array), tree)
    (folder / "checkpoint").write_bytes(msgpack_serialize({"version": 3, "optimizer": content}))


def write_early_orbax(folder: Path, tree: Tree) -> None:
    """Placeholders in a file without a version, and a zarr folder for each."""

    def leaf(names: tuple[str, ...], array: np.ndarray) -> str:
        place = ".".join(names)
        _zarr(folder / "state" / place, np.asarray(array).reshape(np.shape(array) or 1), "gzip")
        return f"PLACEHOLDER://{place}"

    (folder / "state").mkdir(parents=True)
    content = map_tree(leaf, tree)
    (folder / "state" / "checkpoint").write_bytes(msgpack_serialize(content))


def write_orbax(folder: Path, tree: Tree) -> None:
    """As t5x's train, eval and infer write today, by Orbax itself."""
    import orbax.checkpoint as ocp

    (folder / "dataset").mkdir(parents=True)
    (folder / "_CHECKPOINT_METADATA").write_text("{}")
    with ocp.PyTreeCheckpointer() as checkpointer:
        checkpointer.save((folder / "state").absolute(), tree)


LAYOUTS: dict[str, Callable[[Path, Tree], None]] = {
    "legacy": write_partitioned,
    "legacy of Google's": functools.partial(write_partitioned, compressor="zstd", driver="gcs"),
    "legacy in one file": write_unpartitioned,
    "early Orbax": write_early_orbax,
    "Orbax": write_orbax,
}
