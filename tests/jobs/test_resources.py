"""A vocabulary that a run makes is of that run's sentences, or the run is refused."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from distill_jax.data import demo
from distill_jax.data.prepare import definitions_hash
from distill_jax.data.prepared import PreparedDataset
from distill_jax.errors import UserError
from distill_jax.jobs.resources import RunResources
from distill_jax.jobs.sources import Sources
from distill_jax.kinds.t5_start import NewVocabulary
from distill_jax.tagging import Sentence


def made(folder: Path, sentences: Sequence[Sentence], size: int = 150) -> str:
    """The content hash of the vocabulary of a run whose prepared data are these."""
    prepared = folder / f"prepared{len(sentences)}"
    if not prepared.exists():
        PreparedDataset.write(
            prepared / "demo" / "train",
            sentences,
            demo.LABELS,
            task="demo",
            split="train",
            definitions=definitions_hash(),
        )
    sources = Sources(str(folder / "run"), directory=str(prepared))
    return RunResources(sources, "demo").new_vocabulary(NewVocabulary(size)).content_hash()


def test_other_sentences_or_settings_are_refused(tmp_path: Path) -> None:
    some, more = demo.generate("train", 60), demo.generate("train", 70)
    first = made(tmp_path, some)
    assert made(tmp_path, some) == first
    for sentences, size in ((more, 150), (some, 140)):
        with pytest.raises(UserError) as error:
            made(tmp_path, sentences, size)
        assert "run/vocabulary: this vocabulary was made of other sentences" in str(error.value)
    # One of an earlier version does not say what it was made of.
    (tmp_path / "run" / "vocabulary" / "made_of.json").unlink()
    assert made(tmp_path, more) == first
