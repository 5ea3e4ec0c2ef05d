"""Exported directories: a graph or a program, the vocabulary's files, `tagger.json` and the model card."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from distill_jax.errors import UserError
from distill_jax.export.frozen_words import with_sorted_words
from distill_jax.files import atomic_directory, read_json_object, sha256_file, write_json
from distill_jax.kinds.base import Model
from distill_jax.kinds.registry import kind_of
from distill_jax.kinds.subwords import limits_of
from distill_jax.model_dir.directory import load_model
from distill_jax.model_dir.settings import TAGGER
from distill_jax_runtime.directory import EXPORT_FIELD, SPELLING_FILE, SUBWORDS_FILE

_Path = str | os.PathLike[str]


def export_onnx(src: _Path, dst: _Path, *, int8: bool = False) -> None:
    """Writes the graphs of a model with all that is needed to tag with them.

    Args:
        src: a model directory.
        dst: to be made, with `model.onnx` (and `spelling.onnx` or `subwords.json`, and `model.onnx.data` for
            large tables); whole or not at all.
        int8: quantise the layers' weights and the embeddings.

    Raises:
        UserError: in one line; `dst` is there already, `src` is no model, or of a kind that has no graph.
    """
    from distill_jax.export.graph import serialised  # needs the package onnx
    from distill_jax.export.onnx_kinds import onnx_graphs

    model = _load(src, dst)
    frozen = kind_of(model.config).frozen_parameters(model.config)
    if frozen:
        model = with_sorted_words(model)
    graphs = onnx_graphs(model, Path(src), int8=int8)
    files: dict[str, bytes] = {}
    for name, graph in graphs.items():
        files |= serialised(graph, name)
    use = _ONNX
    if SPELLING_FILE in files:
        use = _RUNTIME
    elif (subwords := subwords_of(model)) is not None:
        files[SUBWORDS_FILE] = json.dumps(subwords).encode()
        use = _RUNTIME
    parameters = sum(array.size for array in jax.tree.leaves(model.params)) - frozen
    about = {"int8": int8, "parameters": parameters, "frozen_parameters": frozen}
    _write(src, dst, model, files, EXPORT_FIELD, about, use)


def export_stablehlo(src: _Path, dst: _Path, *, batch_size: int = 8) -> None:
    """Writes the StableHLO program of a model, which `jax.export.deserialize` reads.

    Args:
        src: a model directory.
        dst: to be made, with `model.stablehlo`; whole or not at all.
        batch_size: of a T5's program; those of other kinds take any.

    Raises:
        UserError: as `export_onnx`, or `batch_size` is not a number from 1.
    """
    from distill_jax.export.stablehlo_kinds import PROGRAM_FILE, stablehlo_program

    if batch_size < 1:
        raise UserError(f"batch_size is {batch_size}; give a number from 1")
    model = _load(src, dst)
    program = stablehlo_program(model, Path(src), batch_size=batch_size)
    about = {"jax": jax.__version__, **program.about}
    _write(src, dst, model, {PROGRAM_FILE: program.content}, "stablehlo", about, _STABLEHLO)


def subwords_of(model: Model) -> dict[str, Any] | None:
    """The content of `subwords.json` of a tagger of subwords; None where the runtime cannot read them."""
    portable: dict[str, Any] | None = model.vocabulary.portable()
    if portable is None:
        return None
    limits = limits_of(model)
    return {**portable, "max_tokens": limits.tokens, "overlap_words": limits.overlap_words}


def _load(src: _Path, dst: _Path) -> Model:
    if Path(dst).exists():
        raise UserError(f"{dst}: is there already; name a directory that is not, or remove it")
    return load_model(src)


def _write(
    src: _Path,
    dst: _Path,
    model: Model,
    files: Mapping[str, bytes],
    field: str,
    about: Mapping[str, Any],
    use: str,
) -> None:
    """Writes a directory; what is `about` the export stands in `tagger.json` under `field`."""
    with atomic_directory(Path(dst).absolute()) as temporary:
        for name, content in files.items():
            (temporary / name).write_bytes(content)
        model.vocabulary.save(temporary)
        hashes = {path.name: sha256_file(path) for path in sorted(temporary.iterdir())}
        settings = read_json_object(Path(src) / TAGGER)
        write_json(temporary / TAGGER, {**settings, field: {**about, "files": hashes}})
        path = Path(src) / "README.md"
        card = path.read_text("utf-8") if path.is_file() else ""
        # The model's card, with how the export is used in place of how the model is.
        (temporary / "README.md").write_text(
            f"{card.partition('## Use')[0]}## Use\n\n{use}", "utf-8"
        )


_RUNTIME = """An ONNX export, for programs without JAX:

```python
from distill_jax_runtime import Tagger

tagger = Tagger.load("this/directory")
```

or `distill-jax predict --model this/directory --input sentences.txt --output -`.
"""
_ONNX = """An ONNX export: distill_jax's docs/export.md says what `model.onnx` takes and gives.
"""
_STABLEHLO = """A StableHLO program, read by `jax.export.deserialize`: `tagger.json` names its inputs, and
distill_jax's docs/export.md says what they mean.
"""
