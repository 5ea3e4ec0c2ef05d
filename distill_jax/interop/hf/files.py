"""The files of a Hugging Face checkpoint, and the directories that hold them."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from distill_jax.errors import UserError
from distill_jax.files import read_json_object
from distill_jax.safetensors_io import TensorEntry, read_entries

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
_OTHER_FORMATS = (
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "tf_model.h5",
    "flax_model.msgpack",
)


def flatten(tree: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The leaves of a nested dictionary with their paths."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            for path, leaf in flatten(value):
                yield (name, *path), leaf
        else:
            yield (name,), value


def check_replaceable(directory: Path, marker: str) -> None:
    """Refuses to replace anything but an empty directory or one that holds the file `marker`.

    Raises:
        UserError: `directory` is a file, or a directory of another kind.
    """
    if not directory.exists():
        return
    if not directory.is_dir() or (any(directory.iterdir()) and not (directory / marker).is_file()):
        raise UserError(
            f"{directory}: exists and is not a directory with a {marker}, so it is not replaced; "
            "give another place or remove it"
        )


def find_entries(
    directory: Path, skip: Callable[[str], bool] = lambda name: False
) -> tuple[Path, dict[str, TensorEntry]]:
    """The file that lists a checkpoint's tensors, and these but for those to skip.

    Raises:
        UserError: there are no safetensors, a shard is missing, or a file is damaged.
    """
    single, index = directory / WEIGHTS, directory / INDEX
    if single.exists():
        return single, read_entries(single, skip)
    if index.exists():
        return index, _sharded_entries(index, skip)
    for name in _OTHER_FORMATS:
        if (directory / name).exists():
            raise UserError(
                f"{directory / name}: only safetensors are read, since this format can hold code "
                "or needs another library; load the model in transformers and call "
                "save_pretrained(directory, safe_serialization=True)"
            )
    raise UserError(
        f"{single}: no such file, and no {INDEX} either; download the checkpoint's weights"
    )


def _sharded_entries(index: Path, skip: Callable[[str], bool]) -> dict[str, TensorEntry]:
    weight_map = read_json_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(
        isinstance(shard, str) and Path(shard).name == shard for shard in weight_map.values()
    ):
        raise UserError(
            f"{index}: has no `weight_map` from tensors to files beside it; download it again"
        )
    shards: dict[str, dict[str, TensorEntry]] = {}
    for shard in sorted(set(weight_map.values())):
        if not (index.parent / shard).exists():
            tensors = [name for name, file in weight_map.items() if file == shard]
            raise UserError(
                f"{index.parent / shard}: this shard is missing ({INDEX} puts {len(tensors)} "
                f"tensors there, {tensors[0]!r} the first); download it"
            )
        shards[shard] = read_entries(index.parent / shard, skip)
    entries = {}
    for name, shard in weight_map.items():
        if skip(name):
            continue
        if name not in shards[shard]:
            raise UserError(
                f"{index.parent / shard}: tensor {name!r} is missing, though {INDEX} puts it "
                "there; download both files again"
            )
        entries[name] = shards[shard][name]
    return entries
