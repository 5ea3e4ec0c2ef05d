"""The component `distill_jax` of spaCy's pipelines, which sets entities and their scores.

nlp = spacy.blank("en")
nlp.add_pipe("distill_jax", config={"model": "runs/demo/bilstm-kd/model"})
doc = nlp("remind me to call mara on friday")
doc.ents, doc.spans["distill_jax"].attrs["scores"]

spaCy finds it by the entry point `spacy_factories` (setup.py). The tagger reads the text of a `Doc` by its
own rule for words; where these are not spaCy's tokens, spans are widened to whole tokens, and a
warning says so (`TaggedSentence.to_spacy`).
"""

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from distill_jax.data.chunks import chunks
from distill_jax.errors import UserError
from distill_jax.files import atomic_directory
from distill_jax.model_dir.settings import read_tagger_file
from distill_jax.runtime import Tagger as RuntimeTagger
from distill_jax.tagger import Tagger
from distill_jax_runtime.directory import is_exported

MODEL = "model"
"""The folder of the model directory within that of the component."""


class SpacyTagger:
    """Sets `doc.ents`, and `doc.spans["distill_jax"]` with their scores in `attrs["scores"]`."""

    def __init__(self, model: str, batch_size: int = 32, name: str = "distill_jax") -> None:
        """The model is loaded when it is first used.

        A path where nothing is waits for `from_disk`: `spacy.load` makes the component with the path it
        once had, and only then reads its copy of the model. Raises `UserError` for a directory that is no
        model.
        """
        self.name = name
        self._batch_size = batch_size
        self._model = model
        self._tagger: Tagger | RuntimeTagger | None = None
        self._labels: tuple[str, ...] = ()
        if model and Path(model).exists():
            self._labels = read_tagger_file(Path(model)).labels.names

    def __call__(self, doc: Any) -> Any:
        """One `Doc` with its entities."""
        [found] = self._loaded().predict([doc.text])
        return found.to_spacy(doc)

    def pipe(self, stream: Iterable[Any], *, batch_size: int = 128) -> Iterator[Any]:
        """`Doc`s with their entities, `batch_size` at a time, in order: what `nlp.pipe` calls."""
        tagger = self._loaded()
        for docs in chunks(stream, batch_size):
            for doc, found in zip(docs, tagger.predict([doc.text for doc in docs]), strict=True):
                yield found.to_spacy(doc)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of entities, as spaCy's own components have them; none while there is no model."""
        return self._labels

    def to_disk(self, path: Any, *, exclude: Iterable[str] = ()) -> None:
        """Copies the model directory to a folder of the component's."""
        self._loaded()
        path = Path(path)
        path.mkdir(parents=True, exist_ok=True)
        with atomic_directory((path / MODEL).absolute()) as temporary:
            shutil.copytree(self._model, temporary, dirs_exist_ok=True)

    def from_disk(self, path: Any, *, exclude: Iterable[str] = ()) -> "SpacyTagger":
        """Loads what `to_disk` wrote; the path that the configuration has is of no account then."""
        self._model, self._tagger = str(Path(path) / MODEL), None
        self._labels = read_tagger_file(Path(self._model)).labels.names
        return self

    def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
        """Refused: a model is a directory."""
        raise UserError(
            "a pipeline with a distill_jax component is kept by nlp.to_disk(DIR), not by to_bytes"
        )

    def _loaded(self) -> Tagger | RuntimeTagger:
        if not self._model:
            raise UserError(
                'the component distill_jax has no model; give config={"model": DIR}, a model directory'
            )
        if self._tagger is None and is_exported(self._model):
            self._tagger = RuntimeTagger.load(self._model, batch_size=self._batch_size)
        elif self._tagger is None:
            self._tagger = Tagger.load(self._model, batch_size=self._batch_size)
        return self._tagger


def _register() -> Any:
    """Registers the factory with spaCy, and returns it.

    Raises `UserError` where spaCy is not installed.
    """
    try:
        from spacy.language import Language
    except ImportError:
        raise UserError("the component needs spaCy: pip install 'distill_jax[spacy]'") from None

    @Language.factory(
        "distill_jax",
        default_config={"model": "", "batch_size": 32},
        assigns=["doc.ents", "doc.spans"],
    )
    def make(nlp: Any, name: str, model: str, batch_size: int) -> SpacyTagger:
        return SpacyTagger(model, batch_size, name)

    return make


make_component = _register()
