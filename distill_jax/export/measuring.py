"""What quantisation costs."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from distill_jax.errors import UserError
from distill_jax.export.directory import export_onnx, subwords_of
from distill_jax.inference.evaluation import evaluate_tags
from distill_jax.kinds.registry import kind_of
from distill_jax.model_dir.directory import open_model
from distill_jax.tagging import Sentence
from distill_jax_runtime.tagger import Tagger


class Int8Cost(NamedTuple):
    """F1 (0 to 1) on tagged sentences, and the bytes of all graphs, without and with int8."""

    f1_before: float
    f1_after: float
    bytes_before: int
    bytes_after: int

    def __str__(self) -> str:
        return (
            f"int8: F1 {100 * self.f1_after:.2f}, without {100 * self.f1_before:.2f} "
            f"({100 * (self.f1_after - self.f1_before):+.2f}); graphs {self.bytes_after:,} bytes, "
            f"without {self.bytes_before:,} ({self.bytes_after / self.bytes_before:.2f} x)"
        )


def check_measurable(src: str | os.PathLike[str]) -> None:
    """Raises `UserError` for a model whose export the runtime cannot tag with."""
    model, _ = open_model(src)
    if kind_of(model.config).name != "bilstm" and subwords_of(model) is None:
        raise UserError(
            f"{src}: F1 is measured by the runtime, which cannot read a vocabulary with added tokens; leave "
            "--data out"
        )


def cost_of_int8(
    src: str | os.PathLike[str], int8: str | os.PathLike[str], gold: Sequence[Sentence]
) -> Int8Cost:
    """Compares an int8 export with one of the same model that is not quantised.

    Args:
        src: the model directory.
        int8: what was exported from it.
        gold: tagged sentences.
    """
    with tempfile.TemporaryDirectory() as folder:
        before = Path(folder) / "float32"
        export_onnx(src, before)
        return Int8Cost(
            _f1(before, gold), _f1(Path(int8), gold), graph_bytes(before), graph_bytes(int8)
        )


def _f1(directory: Path, gold: Sequence[Sentence]) -> float:
    tagged = Tagger.load(directory).predict([sentence.words for sentence in gold])
    found = [Sentence(each.words, each.tags) for each in tagged]
    return float(evaluate_tags(gold, found)["f1"])


def graph_bytes(directory: str | os.PathLike[str]) -> int:
    """The bytes of all graphs of an export, with the tables beside them."""
    return sum(path.stat().st_size for path in Path(directory).glob("*.onnx*"))
