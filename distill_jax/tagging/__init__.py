"""Tags, spans, label sets and metrics; needs NumPy only."""

from distill_jax.tagging.calibration import CalibrationCounts
from distill_jax.tagging.labels import LabelSet, default_text
from distill_jax.tagging.metrics import SpanCounts
from distill_jax.tagging.schemes import (
    SCHEMES,
    convert,
    detect_scheme,
    from_spans,
    is_legal,
    repair,
    to_spans,
)
from distill_jax.tagging.sentence import Sentence
from distill_jax.tagging.span_scores import BeamPart, beam_span_score, cut_beam, greedy_span_score
from distill_jax.tagging.temperature import fit_marginal_temperature, fit_temperature
from distill_jax_runtime.legal import constrained_tags, constrained_tags_batch
from distill_jax_runtime.spans import (
    Span,
    iob2_from_spans,
    sbio_from_spans,
    spans_from_iob2,
    spans_from_sbio,
)

__all__ = [
    "SCHEMES",
    "BeamPart",
    "CalibrationCounts",
    "LabelSet",
    "Sentence",
    "Span",
    "SpanCounts",
    "beam_span_score",
    "constrained_tags",
    "constrained_tags_batch",
    "convert",
    "cut_beam",
    "default_text",
    "detect_scheme",
    "fit_marginal_temperature",
    "fit_temperature",
    "from_spans",
    "greedy_span_score",
    "iob2_from_spans",
    "is_legal",
    "repair",
    "sbio_from_spans",
    "spans_from_iob2",
    "spans_from_sbio",
    "to_spans",
]
