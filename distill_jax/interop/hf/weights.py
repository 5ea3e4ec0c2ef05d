"""Where a checkpoint's tensors lie: one file, or shards with their index; and names of old ones."""

from collections.abc import Callable
from pathlib import Path

from distill_jax.errors import UserError
from distill_jax.files import read_json_object
from distill_jax.interop.hf.foreign import check_weights_are_whole
from distill_jax.interop.hf.layout import EMBEDDING, EMBEDDING_ALIASES
from distill_jax.safetensors_io import TensorEntry, read_entries, same_values

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
_OTHER_FORMATS = (
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "tf_model.h5",
    "flax_model.msgpack",
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
    check_weights_are_whole(directory)
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
    for shard, there in shards.items():
        for name in there:
            if weight_map.get(name) != shard:
                raise UserError(
                    f"{index.parent / shard}: tensor {name!r} is there, though {INDEX} does not say so; "
                    "download both files again"
                )
    return entries


def merge_aliases(entries: dict[str, TensorEntry]) -> None:
    """Leaves one token embedding, `shared.weight`, of those that a checkpoint has under other names.

    Raises `UserError` if two differ: transformers has one for encoder and decoder, and so has `T5`.
    """
    for alias in EMBEDDING_ALIASES:
        other = entries.pop(alias, None)
        if other is None:
            continue
        entry = entries.setdefault(EMBEDDING, other)
        if not same_values(entry, other):
            raise UserError(
                f"{other.file}: {alias!r} differs from {entry.name!r}, and encoder and decoder of a T5 "
                "have one embedding; remove the tensor that the model was not trained with"
            )
