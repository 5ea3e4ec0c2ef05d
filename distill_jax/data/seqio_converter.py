"""The feature converter of tagging tasks for t5x. Imported only where SeqIO is."""

from collections.abc import Mapping
from typing import Any

from distill_jax.data.seqio_import import import_seqio

_converter: Any = import_seqio().EncDecFeatureConverter


class SenTFeatureConverter(_converter):
    """SeqIO's converter for encoder-decoders, for tasks that have more features than it knows.

    A tagging task keeps its words and tags beside `inputs` and `targets`, for metrics; SeqIO's own
    converter refuses them.
    """

    def __call__(self, ds: Any, task_feature_lengths: Mapping[str, int]) -> Any:
        """Converts `inputs` and `targets`, and nothing else."""
        features = self.TASK_FEATURES
        ds = ds.map(lambda example: {name: example[name] for name in features})
        lengths = {name: task_feature_lengths[name] for name in features}
        return super().__call__(ds, lengths)
