"""How sure and how right a model is, as a part of a page."""

from collections.abc import Mapping
from typing import Any

from distill_jax.report.elements import Html, details, join, paragraph
from distill_jax.report.figures import bins_table
from distill_jax.report.page import figure
from distill_jax.report.plots import can_plot, reliability_svg

CALIBRATION = ("ece", "brier", "accuracy", "words", "bins")
"""What it takes of the result of an evaluation; see `tagging.calibration`."""


def reliability_content(result: Mapping[str, Any], *, name: str = "reliability") -> Html:
    """The diagram with its numbers, or the numbers alone where matplotlib is not installed.

    `name` is that of the figure, which no other of the page may have.
    """
    parts = [
        paragraph(
            "How often the most probable tag of a word is right, by how probable the model says it "
            "is. A model whose bars end on the diagonal is as sure as it is right."
        )
    ]
    if can_plot():
        words = f"{result['ece']:.4f}"
        parts.append(
            figure(
                reliability_svg(result),
                name=name,
                title=f"Reliability diagram: accuracy against confidence; the expected calibration "
                f"error is {words}. The table below has its numbers.",
                caption=f"Accuracy against confidence; expected calibration error {words}.",
            )
        )
        parts.append(details("The numbers", bins_table(result["bins"])))
    else:
        parts.append(
            paragraph("The diagram needs matplotlib (the extra `plot`), which was not installed.")
        )
        parts.append(bins_table(result["bins"]))
    return join(parts)
