"""The sentences that runs read: SeqIO tasks, prepared when they are first asked for."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from distill_jax.configuration import setting
from distill_jax.data.prepare import TASK_MODULES, prepare
from distill_jax.data.prepared import PreparedDataset
from distill_jax.errors import UserError
from distill_jax.inference.settings import TaggerSettings
from distill_jax.kinds.base import Learner, TaskNames
from distill_jax.kinds.registry import kind_of
from distill_jax.parallel.processes import first_goes_ahead
from distill_jax.tagging import LabelSet, Sentence
from distill_jax_runtime.text import TEXT_WORDS, TextWords

Part = tuple[PreparedDataset, float]
"""A task's sentences of one split, and the share of rows they get."""


@dataclasses.dataclass(frozen=True)
class Sources:
    """Where a run's tasks come from, and where their prepared examples are kept.

    Attributes:
        model_dir: the run's folder.
        directory: of prepared data; None: `prepared` in the run's folder.
        data_dir: where tasks that read files look; None: the environment's `DISTILL_JAX_DATA`.
        modules: Python modules that are imported for the tasks they register.
        label_texts: what labels are verbalised as, where not as their tasks say: a label file,
            or a dictionary from name to text. Prepared data stay as they are: the texts are
            those of this run's model.
        text_words: how a text becomes words for the model (`distill_jax_runtime.text`); None: as the
            texts of its data did, and by blanks where the data came as words.

    Raises:
        UserError: a rule for words that there is not.
    """

    model_dir: str = setting(macro="MODEL_DIR", free=True)
    directory: str | None = setting(None, macro="PREPARED_DATA_DIR", free=True)
    data_dir: str | None = setting(None, macro="DATA_DIR", free=True)
    modules: Sequence[str] = setting(TASK_MODULES, macro="MIXTURE_OR_TASK_MODULES")
    label_texts: str | Mapping[str, str] | None = setting(None, macro="LABEL_TEXTS")
    # Free: nothing is trained otherwise; which words there are, the hashes of the data say.
    text_words: TextWords | None = setting(None, macro="TEXT_WORDS", free=True)

    def __post_init__(self) -> None:
        if self.text_words is not None and self.text_words not in TEXT_WORDS:
            raise UserError(
                f"TEXT_WORDS is {self.text_words!r}; use one of {', '.join(map(repr, TEXT_WORDS))}"
            )

    def read(self, names: TaskNames, split: str) -> list[Part]:
        """The examples of a split with their mixing rates, prepared now if they are not yet.

        Raises `UserError` as preparing does, or if `label_texts` names a label that none of the tasks has.
        """
        rates = {names: 1.0} if isinstance(names, str) else dict(names)
        directory = self.directory or str(Path(self.model_dir) / "prepared")
        with first_goes_ahead("prepared data"):
            parts = [
                (part.dataset, rate * part.rate)
                for name, rate in rates.items()
                for part in prepare(
                    name, split, directory, data_dir=self.data_dir, modules=self.modules
                )
            ]
        if self.label_texts is not None:
            _verbalise([dataset for dataset, _ in parts], self.label_texts)
        return parts

    def one(self, name: TaskNames, split: str, setting_name: str) -> PreparedDataset:
        """The one data set of a task. Raises `UserError` naming the setting if it is a mixture of several."""
        parts = self.read(name, split)
        if len(parts) != 1:
            raise UserError(
                f"{setting_name} must be one task, not a mixture of {len(parts)}; name one task"
            )
        return parts[0][0]

    def rule_for_words(self, *datasets: PreparedDataset) -> TextWords:
        """How a text becomes words for a model of these data.

        Raises `UserError` if texts of them became words by another rule, or by several.
        """
        rule = self.text_words
        for dataset in datasets:
            for found in sorted(dataset.text_words):
                if rule is not None and found != rule:
                    raise UserError(
                        f"texts of {dataset.task} ({dataset.split}) became words by the rule {found!r}, and "
                        f'the model\'s is to be {rule!r}; put {{"text_words": "{rule}"}} into reading.json '
                        f"beside its files, or set TEXT_WORDS to {found!r}"
                    )
                rule = found
        return rule or "blanks"

    def sentences(self, names: TaskNames) -> Iterator[Sentence]:
        """The training sentences of tasks."""
        for dataset, _ in self.read(names, "train"):
            yield from dataset


def settings_with(learner: Learner, text_words: TextWords) -> TaggerSettings:
    """How the model that leaves a run tags, with its rule for the words of a text."""
    settings = learner.settings or TaggerSettings(format=kind_of(learner.config).format)
    return dataclasses.replace(settings, text_words=text_words)


def content_hashes(*datasets: PreparedDataset) -> dict[str, str]:
    """What a run reads, by name, with hashes of the sentences: for `train.same_run.Origin`."""
    return {f"{each.task} ({each.split})": each.content_hash() for each in datasets}


def _verbalise(datasets: Sequence[PreparedDataset], label_texts: str | Mapping[str, str]) -> None:
    """Gives the data sets' labels other texts, in memory."""
    if isinstance(label_texts, str):
        loaded = LabelSet.load(label_texts)
        label_texts = dict(zip(loaded.names, loaded.texts, strict=True))
    tagged = [dataset for dataset in datasets if dataset.labels is not None]
    known = {name for dataset in tagged if dataset.labels for name in dataset.labels.names}
    for name in label_texts:
        if name not in known:
            raise UserError(
                f"LABEL_TEXTS gives a text for {name!r}, which is no label of the tasks "
                f"({', '.join(sorted(known)[:5])}, …); correct the name or leave it out"
            )
    for dataset in tagged:
        assert dataset.labels is not None
        own = {name: text for name, text in label_texts.items() if name in dataset.labels.names}
        try:
            dataset.labels = dataset.labels.with_texts(own)
        except UserError as error:
            raise UserError(f"LABEL_TEXTS: {error}") from None
