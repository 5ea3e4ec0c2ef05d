"""The component of spaCy's pipelines; `tests/installed/check_installed.py` looks for its entry point."""

import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest

from distill_jax.errors import UserError
from distill_jax.inference.settings import TaggerSettings
from distill_jax.tagger import Tagger
from tests.tiny import LABELS, save_tiny

spacy = pytest.importorskip("spacy", reason="spaCy is not installed")
TEXTS = ["to berlin, on may 4", "", "x y (z) on may", "to  rome"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = TaggerSettings(format="word_tags", text_words="punctuation")
    return save_tiny(tmp_path_factory.mktemp("models") / "model", "bilstm", settings=settings)


@pytest.fixture(scope="module")
def nlp(model: Path) -> Any:
    import distill_jax.spacy_component  # noqa: F401 (registers the factory, as the entry point does)

    nlp = spacy.blank("en")
    nlp.add_pipe("distill_jax", config={"model": str(model), "batch_size": 2})
    return nlp


def entities(doc: Any) -> list[tuple[int, int, str]]:
    return [(ent.start_char, ent.end_char, ent.label_) for ent in doc.ents]


def test_entities_are_those_of_the_tagger(nlp: Any, model: Path) -> None:
    expected = Tagger.load(model).predict(TEXTS)
    assert any(found.spans for found in expected)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # spaCy's tokens are the model's words in these texts
        one_by_one = [nlp(text) for text in TEXTS]
        piped = list(nlp.pipe(TEXTS, batch_size=3))
    for doc, other, found in zip(one_by_one, piped, expected, strict=True):
        spans = [(span.start_char, span.end_char, span.label) for span in found.spans]
        assert entities(doc) == entities(other) == spans
        scores = [span.score for span in found.spans]
        assert doc.spans["distill_jax"].attrs["scores"] == pytest.approx(scores, rel=1e-4)
    assert nlp.pipe_labels["distill_jax"] == list(LABELS.names)


def test_a_pipeline_on_disk_has_its_own_copy_of_the_model(
    nlp: Any, model: Path, tmp_path: Path
) -> None:
    nlp.to_disk(tmp_path / "pipeline")
    shutil.move(tmp_path / "pipeline", tmp_path / "moved")
    loaded = spacy.load(
        tmp_path / "moved", config={"components.distill_jax.model": str(tmp_path / "gone")}
    )
    assert [entities(loaded(text)) for text in TEXTS] == [entities(nlp(text)) for text in TEXTS]
    loaded.to_disk(tmp_path / "moved")  # onto itself
    assert entities(spacy.load(tmp_path / "moved")(TEXTS[0])) == entities(nlp(TEXTS[0]))
    with pytest.raises(UserError, match=r"nlp\.to_disk"):
        nlp.to_bytes()


def test_a_component_without_a_model(nlp: Any, tmp_path: Path) -> None:
    empty = spacy.blank("en")
    empty.add_pipe("distill_jax")
    with pytest.raises(UserError, match=r'config=\{"model": DIR\}'):
        empty("to berlin")
    (tmp_path / "no_model").mkdir()
    with pytest.raises(UserError, match="not a model directory"):
        spacy.blank("en").add_pipe("distill_jax", config={"model": str(tmp_path / "no_model")})
    absent = spacy.blank("en")
    absent.add_pipe("distill_jax", config={"model": str(tmp_path / "absent")})
    with pytest.raises(UserError, match="absent: not a model directory"):
        absent("to berlin")
