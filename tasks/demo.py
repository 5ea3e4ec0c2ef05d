"""The embedded data set as a SeqIO task: `demo`."""

from collections.abc import Iterable

from distill_jax.data import demo
from distill_jax.data.seqio_tasks import register_tagging_task
from distill_jax.tagging import Sentence

SIZES = {"train": 6_000, "valid": 500, "test": 1_000}
SEED = 0


def _sentences(split: str) -> Iterable[Sentence]:
    return demo.generate(split, SIZES[split], SEED)


register_tagging_task("demo", source=_sentences, splits=demo.SPLITS, labels=demo.LABELS)
