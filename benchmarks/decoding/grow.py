"""A small trained T5 inside a larger one: the larger's costs, the smaller's posteriors.

    python benchmarks/decoding/grow.py runs/snips/teacher/model runs/snips/grown --size small

`pruned` pays off where posteriors are peaked, as those of a trained teacher are. Training a T5 v1.1
"small" from random weights takes many hours on a CPU; a T5 of a million parameters takes minutes. Its
weights are put into a corner of the larger model's so that the logits stay what they are, while every
matrix has the larger model's shape:

* New columns of the residual stream are zero: nothing writes there. A norm divides by the mean over
  more columns, which its scale makes up for.
* New heads, hidden units and layers have random weights but an output of zero.
* A tied output embedding becomes an untied one with the scale in it. Rows that are new must never be
  likely: one new column of the stream is a small constant, which only they weigh, by a large negative.
"""

import argparse
import dataclasses
import math
import sys
from pathlib import Path
from typing import Any

if not __package__:  # run as a file: what is imported from is the checkout, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import jax
import numpy as np

from benchmarks.common.workload import ROWS, SIZES, draw_weights
from distill_jax.errors import UserError
from distill_jax.model_dir.directory import load_model, save_model
from distill_jax.models.t5_config import T5Config

_CONSTANT = 1e-3  # in the stream: too small to change a norm
_NEVER = -1e7  # times the constant over the stream's size: a logit that nothing outweighs


def grow(params: Any, config: T5Config, target: T5Config, seed: int = 0) -> Any:
    """Parameters of `target` whose logits are those of `params`, the new rows aside.

    Raises `UserError` if `target` is smaller in some way, or of another kind.
    """
    _check_larger(config, target)
    given = {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}

    def grown(path: Any, leaf: Any) -> np.ndarray:
        name = _name(path)
        old = given.get(name)
        if name == "token_embedder/embedding":
            new = _pad(old, leaf.shape)
            new[:, config.d_model] = _CONSTANT
            return new
        if name == "decoder/logits_dense/kernel":
            return _output(given, config, leaf.shape)
        if name.endswith("/scale"):
            new = np.zeros(leaf.shape, np.float32)
            if old is not None:
                new[: config.d_model] = np.asarray(old) * math.sqrt(config.d_model / target.d_model)
            if name == "decoder/decoder_norm/scale":
                new[config.d_model] = 1.0
            return new
        if name.endswith("rel_embedding"):
            return _pad(old, leaf.shape)
        new = np.array(leaf)
        if name.endswith(("/out/kernel", "/wo/kernel")):
            new[:] = 0.0
        if old is not None:
            _place(np.asarray(old), new, name, config, target)
        return new

    return jax.tree_util.tree_map_with_path(grown, draw_weights(target, jax.random.key(seed)))


def _place(old: np.ndarray, new: np.ndarray, name: str, old_c: T5Config, new_c: T5Config) -> None:
    """Writes a trained kernel into its corner of a larger one, head by head."""
    if "/mlp/" in name:
        new[: old.shape[0], : old.shape[1]] = old
        return
    heads, kv = old_c.num_heads, old_c.d_kv
    if name.endswith("/out/kernel"):
        new.reshape(new_c.num_heads, new_c.d_kv, -1)[:heads, :kv, : old_c.d_model] = old.reshape(
            heads, kv, -1
        )
        return
    # Queries and keys of a head must not see more of each other than before.
    by_head = new.reshape(-1, new_c.num_heads, new_c.d_kv)
    by_head[:, :heads, kv:] = 0.0
    by_head[: old_c.d_model, :heads, :kv] = old.reshape(-1, heads, kv)


def _output(given: dict[str, Any], config: T5Config, shape: tuple[int, ...]) -> np.ndarray:
    if config.tied_embedding:
        rows = np.asarray(given["token_embedder/embedding"]).T * config.d_model**-0.5
    else:
        rows = np.asarray(given["decoder/logits_dense/kernel"])
    new = _pad(rows, shape)
    new[config.d_model, rows.shape[1] :] = _NEVER
    return new


def _pad(old: Any, shape: tuple[int, ...]) -> np.ndarray:
    old = np.asarray(old, np.float32)
    return np.pad(old, [(0, n - o) for n, o in zip(shape, old.shape, strict=True)])


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _check_larger(config: T5Config, target: T5Config) -> None:
    same = ("activation", "gated", "relative_buckets", "relative_max_distance")
    for field in (*same, "relative_bias_per_layer", "layer_norm_epsilon", "decoder_start_id"):
        if getattr(config, field) != getattr(target, field):
            raise UserError(
                f"{field} is {getattr(config, field)} here and {getattr(target, field)} there; "
                "only the size may grow"
            )
    sizes = ("vocab_size", "d_kv", "d_ff", "num_heads", "num_encoder_layers", "num_decoder_layers")
    for field in sizes:
        if getattr(config, field) > getattr(target, field):
            raise UserError(
                f"{field} would shrink from {getattr(config, field)}; use a larger size"
            )
    if config.d_model >= target.d_model or target.tied_embedding:
        raise UserError("the larger model needs a larger d_model and an untied output embedding")


def main() -> None:
    """Reads a model directory and writes the grown one."""
    parser = argparse.ArgumentParser(description="Puts a small trained T5 into a larger one.")
    parser.add_argument("source", help="model directory of a T5 teacher")
    parser.add_argument("destination", help="model directory to write")
    parser.add_argument("--size", choices=SIZES, default="small")
    options = parser.parse_args()
    model = load_model(options.source)
    if not isinstance(model.config, T5Config):
        raise UserError(f"{options.source}: this model is no T5; give a teacher's directory")
    target = T5Config(**({"vocab_size": ROWS} | SIZES[options.size]))  # type: ignore[arg-type]
    grown = dataclasses.replace(
        model,
        config=target,
        params=grow(model.params, model.config, target),
        metadata={"role": "teacher", "training": {"grown from": f"{options.source}"}},
    )
    save_model(options.destination, grown)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
