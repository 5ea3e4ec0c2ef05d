"""The documents' Python, as it stands there, on tiny models; configuration.md has a test of its own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill_jax.export.directory import export_onnx, export_stablehlo
from tests.docs.documents import DOCUMENTS, fences, name_of
from tests.tiny import LABELS, save_tiny

SNIPPETS = [
    (place, code)
    for document in DOCUMENTS
    for place, code in fences(document, "python")
    if name_of(document) != "docs/configuration.md"
]
MODELS = ("runs/intents/model", "runs/intents/bilstm/model", "runs/demo/bilstm-kd/model")
TEXT = "remind me to call mara on friday"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where a reader is: models and files where the documents have them."""
    folder = tmp_path_factory.mktemp("snippets")
    for model in MODELS:
        save_tiny(folder / model, "bilstm")
    export_onnx(folder / MODELS[-1], folder / "runs/demo/onnx")
    export_stablehlo(folder / MODELS[-1], folder / "runs/demo/stablehlo")
    for name in ("new.txt", "sentences.txt"):
        (folder / name).write_text(f"{TEXT}\nto berlin\n")
    yield folder


def run(place: str, code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names that the code leaves behind."""
    monkeypatch.chdir(folder)
    # What prose before the code says of its inputs.
    names: dict[str, Any] = {
        "word_ids": np.ones((2, 3), np.int32),
        "char_ids": np.ones((2, 3, 5), np.int32),
    }
    exec(compile(code, place, "exec"), names)
    return names


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.parametrize(("place", "code"), SNIPPETS, ids=[place for place, _ in SNIPPETS])
def test_a_snippet_runs(
    place: str, code: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "import spacy" in code:
        pytest.importorskip("spacy")
        import distill_jax.spacy_component  # noqa: F401 (as the entry point does)
    if "transformers" in code:
        pytest.skip("needs torch; tests/model_dir/test_export_hf.py loads an export so")
    names = run(place, code, folder, monkeypatch)
    if "found" in names:
        found = names["found"]
        assert len(found.tags) == len(found.words)
        assert found.posteriors.shape == (len(found.words), LABELS.num_tags)
    elif "log_probabilities" in names:
        assert names["log_probabilities"].shape == (2, 3, LABELS.num_tags)
    elif "doc" in names:
        assert names["doc"].text == TEXT
    else:
        assert "register_tagging_task" in names


def test_all_documents_with_python_are_run() -> None:
    assert {place.partition(":")[0] for place, _ in SNIPPETS} == {
        *("README.md", "docs/export.md", "docs/tasks.md", "docs/text.md", "docs/tutorial.md")
    }
