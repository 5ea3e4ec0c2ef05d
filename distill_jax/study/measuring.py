"""What is measured of a model on a cell's test sentences: the line of results, and the speed."""

import dataclasses
import time
from collections.abc import Sequence
from typing import Any, Literal

from distill_jax.inference import Prediction, evaluate, scalars
from distill_jax.jobs.student import StudentRun
from distill_jax.study.cell_data import CellData
from distill_jax.study.grid import SURE, Cell, Taught
from distill_jax.study.results import Row, without_nan
from distill_jax.study.teachers import TrainingFacts
from distill_jax.tagger import Tagger
from distill_jax.tagging import Sentence


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What a line of results says of a model beside its figures; the fields are those of `Row`.

    `taught` is what a distilled student had of the teacher, `run` the student's run, of whose loss and
    weighting a line tells.
    """

    name: str
    model: str
    recipe: Literal["teacher", "gold", "distilled"]
    parameters: int
    training: TrainingFacts
    taught: Taught | None = None
    run: StudentRun | None = None

    @property
    def distillation(self) -> dict[str, Any]:
        """The columns about the teacher's part; none of them of a model that had none."""
        if self.taught is None or self.run is None:
            return {}
        generated = self.taught.generated
        is_cut = self.taught.sentences and (generated is None or generated.filters == SURE)
        options = ("temperature", "both_sides", "square_scale")
        return {
            "silver": str(self.taught.silver),
            "silver_sentences": self.taught.sentences,
            "kl_weight": self.taught.kl_weight,
            **{name: getattr(self.run.loss, name, None) for name in options},
            "confidence_weighting": self.run.data.confidence_weighting,
            "min_confidence": self.run.data.min_confidence if is_cut else 0.0,
            **({} if generated is None else dataclasses.asdict(generated)),
        }


def row_of(
    cell: Cell,
    data: CellData,
    model: ModelFacts,
    predictions: Sequence[Prediction],
    sentences_per_second: float | None,
) -> Row:
    """A model's line of results, by its predictions for the test sentences."""
    figures = scalars(evaluate(data.labels, data.test, predictions))
    return Row(
        dataset=cell.dataset,
        size=str(cell.size),
        seed=cell.seed,
        name=model.name,
        model=model.model,
        recipe=model.recipe,
        gold_sentences=len(data.gold),
        dev_sentences=len(data.dev),
        parameters=model.parameters,
        dev_f1=model.training.dev_f1,
        best_step=model.training.best_step,
        seconds_to_train=model.training.seconds,
        sentences_per_second=sentences_per_second,
        **model.distillation,
        **without_nan(figures),
    )


def timed_predictions(
    tagger: Tagger, sentences: Sequence[Sentence]
) -> tuple[list[Prediction], float]:
    """Predictions, and sentences a second without compilation."""
    words = [sentence.words for sentence in sentences]
    tagger.warm_up(words)
    start = time.monotonic()
    predictions = tagger.predict_ids(words)
    return predictions, len(words) / (time.monotonic() - start)
