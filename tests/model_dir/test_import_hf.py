"""Importing Hugging Face directories, and how much memory that takes."""

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill_jax.errors import UserError
from distill_jax.interop.hf.checkpoint import flatten, read_hf, write_hf_files
from distill_jax.interop.hf.layout import parameters_of
from distill_jax.model_dir.directory import load_model
from distill_jax.model_dir.import_hf import import_hf
from distill_jax.models.t5_config import T5Config
from distill_jax.safetensors_io import TensorSource
from distill_jax.tagging.labels import LabelSet
from distill_jax.vocab import ByteVocabulary, train_sentencepiece

LABELS = LabelSet(("city", "date_time"))
TINY = T5Config(
    vocab_size=400,
    d_model=8,
    d_kv=2,
    d_ff=5,
    num_heads=2,
    num_encoder_layers=1,
    num_decoder_layers=1,
)
ROOT = Path(__file__).resolve().parents[2]


def make_checkpoint(directory: Path, config: T5Config = TINY, **fields: Any) -> int:
    """A checkpoint with random values; returns the bytes of its tensors."""
    rng = np.random.default_rng(0)
    directory.mkdir()
    sources = [
        TensorSource(p.hf_name, p.hf_shape, lambda p=p: rng.random(p.hf_shape, np.float32))
        for p in parameters_of(config)
    ]
    write_hf_files(directory, config, sources, **fields)
    return sum(4 * math.prod(source.shape) for source in sources)


def train_vocabulary(path: Path) -> None:
    texts = ["book a table in berlin", "what is the weather in paris", "play some music"] * 5
    train_sentencepiece(texts, 60, path, required=LABELS.tag_texts)


@pytest.mark.parametrize("per_layer", [False, True])
def test_an_imported_model_is_the_checkpoint(tmp_path: Path, per_layer: bool) -> None:
    src, dst = tmp_path / "flan", tmp_path / "model"
    make_checkpoint(src, TINY.replace(relative_bias_per_layer=per_layer))
    train_vocabulary(src / "spiece.model")
    import_hf(src, dst, LABELS)
    config, params = read_hf(src)
    loaded = load_model(dst)
    assert loaded.config == config
    assert loaded.labels == LABELS
    assert loaded.metadata["name"] == "flan"
    assert loaded.vocabulary.content_hash()
    expected = dict(flatten(params))
    for path, array in flatten(loaded.params):
        np.testing.assert_allclose(array, expected[path], rtol=1e-6)


@pytest.mark.parametrize(
    ("fields", "config"),
    [
        ({"tokenizer_class": "ByT5Tokenizer"}, TINY),
        ({"model_type": "byt5"}, TINY),
        ({}, TINY.replace(vocab_size=384)),
    ],
)
def test_byt5_needs_no_vocabulary_file(
    tmp_path: Path, fields: dict[str, Any], config: T5Config
) -> None:
    make_checkpoint(tmp_path / "src", config, **fields)
    import_hf(tmp_path / "src", tmp_path / "model", LABELS)
    assert isinstance(load_model(tmp_path / "model").vocabulary, ByteVocabulary)


def test_the_vocabulary_may_lie_elsewhere(tmp_path: Path) -> None:
    make_checkpoint(tmp_path / "src")
    train_vocabulary(tmp_path / "pieces.model")
    import_hf(tmp_path / "src", tmp_path / "model", LABELS, tmp_path / "pieces.model", name="x")
    loaded = load_model(tmp_path / "model")
    assert loaded.vocabulary.num_sentinels == 100
    assert loaded.metadata["name"] == "x"


def test_what_cannot_be_imported_leaves_nothing_behind(tmp_path: Path) -> None:
    src, dst = tmp_path / "src", tmp_path / "model"
    make_checkpoint(src)
    with pytest.raises(UserError, match="src: has no vocabulary"):
        import_hf(src, dst, LABELS)
    with pytest.raises(UserError, match="pieces"):
        import_hf(src, dst, LABELS, tmp_path / "pieces.model")
    with pytest.raises(UserError, match="checkpoint itself"):
        import_hf(src, src, LABELS, "byte")
    with pytest.raises(UserError, match="exists"):
        import_hf(src, tmp_path, LABELS, "byte")  # would replace the folder the source lies in
    make_checkpoint(tmp_path / "small", TINY.replace(vocab_size=300))
    with pytest.raises(UserError, match="384 ids, the model only 300"):
        import_hf(tmp_path / "small", dst, LABELS, "byte")
    with open(src / "model.safetensors", "r+b") as file:
        file.truncate(1000)
    with pytest.raises(UserError, match="truncated"):
        import_hf(src, dst, LABELS, "byte")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small", "src"]


MEASURE = """
import sys
from distill_jax.interop.hf.checkpoint import read_hf
from distill_jax.model_dir.import_hf import import_hf
from distill_jax.model_dir.directory import load_model
from distill_jax.tagging.labels import LabelSet

def kilobytes(name):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(name))

source, target = sys.argv[1:]
labels = LabelSet(("city",))
before = kilobytes("VmRSS")
import_hf(source, target, labels, "byte")
imported = kilobytes("VmHWM")
model = read_hf(source)
read = kilobytes("VmHWM")
print((imported - before) * 1024, (read - before) * 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_peak_memory(tmp_path: Path) -> None:
    """Reading takes at most 1.3 times the checkpoint, importing little more than one tensor."""
    config = T5Config(
        vocab_size=32_128, d_model=384, d_ff=1024, num_encoder_layers=3, num_decoder_layers=3
    )
    size = make_checkpoint(tmp_path / "src", config)
    assert 100e6 < size < 200e6
    result = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path / "src"), str(tmp_path / "model")],
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    )
    importing, reading = (int(n) / size for n in result.stdout.split())
    print(f"peak memory over the checkpoint's size: import {importing:.2f}, read {reading:.2f}")
    assert reading <= 1.3
    assert importing <= 0.6
