"""How sure and how right a model is, as a part of a page."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from distill_jax.report.figure import Figure, figure
from distill_jax.report.metric_tables import bins_table
from distill_jax.report.plots import can_plot, reliability_svg
from distill_jax.report.table import Table

CALIBRATION = ("ece", "brier", "accuracy", "words", "bins")
"""The fields of an evaluation's result that it needs; see `tagging.calibration`."""


@dataclass(frozen=True)
class Reliability:
    """The diagram with its numbers, or the numbers alone where matplotlib is not installed."""

    template: ClassVar[str] = "reliability.html.j2"
    diagram: Figure | None
    numbers: Table


def reliability(result: Mapping[str, Any], *, name: str = "reliability") -> Reliability:
    """How often a model is right, by how sure it is.

    Args:
        result: with the fields of `CALIBRATION`.
        name: of the figure; no other of the page may have it.
    """
    diagram = None
    if can_plot():
        error = f"{result['ece']:.4f}"
        diagram = figure(
            reliability_svg(result),
            name=name,
            title=f"Reliability diagram: accuracy against confidence; the expected calibration "
            f"error is {error}. The table below has its numbers.",
            caption=f"Accuracy against confidence; expected calibration error {error}.",
        )
    return Reliability(diagram, bins_table(result["bins"]))
