"""Training a T5 to write the sentences of a task: a generator."""

import dataclasses

from distill_jax.configuration import setting
from distill_jax.generate.infill import InfillWriter
from distill_jax.generate.labelled import LabelledWriter
from distill_jax.generate.prompt import Writer
from distill_jax.generate.text import TextWriter
from distill_jax.generate.writers import save_writer
from distill_jax.jobs.sources import Part, content_hashes
from distill_jax.jobs.teacher import TextMaterial, TextRun, fit_by_loss
from distill_jax.kinds.t5_teacher import TextPart
from distill_jax.train.selection import Outcome


@dataclasses.dataclass(frozen=True, kw_only=True)
class GeneratorRun(TextRun):
    """The tuning of a generator on a task's gold sentences, selected by the loss on its dev split.

    Attributes:
        writer: what it learns to write.
    """

    writer: Writer = setting(part=(TextWriter, InfillWriter, LabelledWriter))

    def run(self) -> Outcome:
        """See `train_generator`."""
        return train_generator(self)


def train_generator(run: GeneratorRun) -> Outcome:
    """Tunes a T5 to write; it leaves a Hugging Face directory with `generator.json` in `MODEL_DIR/model`.

    Raises:
        UserError: no sentence gives an example (infilling needs mentions, or context; tags to write are
            needed), or as `train.loop.fit`.
    """
    data, writer = run.data, run.writer
    parts = data.sources.read(data.mixture, data.train_split)
    dev = data.sources.read(data.mixture, data.eval_split)
    material = TextMaterial(
        [_part(part, writer) for part in parts],
        [_part(part, writer) for part in dev],
        None,
        content_hashes(*(dataset for dataset, _ in [*parts, *dev])),
    )
    return fit_by_loss(run, material, lambda directory: save_writer(directory, writer))


def _part(part: Part, writer: Writer) -> TextPart:
    dataset, rate = part
    return TextPart(list(dataset), None, rate, writer.examples)
