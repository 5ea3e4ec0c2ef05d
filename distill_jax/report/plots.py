"""The reliability diagram; matplotlib is the extra `plot`, imported only when something is drawn."""

import importlib.util
import io
import os
from collections.abc import Mapping
from typing import Any

from distill_jax.errors import UserError
from distill_jax.files import atomic_write

_BAR, _GAP, _TEXT, _LINE = "#3b6ea8", "#d9794f", "#333333", "#8a8a8a"


def can_plot() -> bool:
    """Whether matplotlib is installed; imports nothing."""
    return importlib.util.find_spec("matplotlib") is not None


def check_plotting() -> None:
    """Raises `UserError` if matplotlib is not installed; imports nothing."""
    if not can_plot():
        raise UserError(
            "drawing needs matplotlib, which is not installed; pip install 'distill_jax[plot]', or "
            "leave --reliability out"
        )


def draw_reliability(result: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Draws a reliability diagram (Guo et al. 2017, arXiv 1706.04599, figure 1) as a PNG.

    Above: for each bin of confidence the share of words whose most probable tag is right, and its
    gap to the mean confidence; on the diagonal a model knows how often it is right. Below: how many
    words each bin holds.

    Args:
        result: `bins`, `ece`, `brier`, `accuracy` and `words`, as `CalibrationCounts.result` gives.
        path: the file to write, whatever its suffix.

    Raises:
        UserError: matplotlib is not installed.
    """
    figure = _reliability(result)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def reliability_svg(result: Mapping[str, Any]) -> str:
    """The diagram of `draw_reliability` as the text of an SVG file; equal results, equal texts.

    Raises `UserError` if matplotlib is not installed.
    """
    figure = _reliability(result)
    from matplotlib import rc_context

    file = io.StringIO()
    with rc_context({"svg.hashsalt": "distill_jax"}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()


def _reliability(result: Mapping[str, Any]) -> Any:
    check_plotting()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 6.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)  # draws without a display, and leaves pyplot's settings alone
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    _draw_accuracy(above, result["bins"])
    _draw_counts(below, result)
    above.set_title(
        f"ECE {result['ece']:.4f}    Brier {result['brier']:.4f}", color=_TEXT, fontsize=12
    )
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=_TEXT)
    return figure


def _draw_accuracy(axes: Any, bins: list[dict[str, float]]) -> None:
    filled = [each for each in bins if each["count"]]
    at = {
        "x": [each["lower"] for each in filled],
        "width": [each["upper"] - each["lower"] for each in filled],
        "align": "edge",
    }
    accuracy = [each["accuracy"] for each in filled]
    gap = [each["confidence"] - each["accuracy"] for each in filled]
    axes.bar(height=accuracy, color=_BAR, edgecolor="white", linewidth=0.8, label="accuracy", **at)
    # Two layers, since SVG has one opacity for a colour and the hatch on it.
    axes.bar(height=gap, bottom=accuracy, facecolor=(*_rgb(_GAP), 0.30), **at)
    axes.bar(
        height=gap,
        bottom=accuracy,
        facecolor="none",
        edgecolor=_GAP,
        hatch="///",
        linewidth=0.8,
        label="gap to mean confidence",
        **at,
    )
    axes.plot(
        [0, 1],
        [0, 1],
        color=_TEXT,
        linestyle=(0, (5, 4)),
        linewidth=1.2,
        zorder=3,
        label="perfect calibration",
    )
    axes.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
    axes.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    axes.legend(loc="upper left", frameon=False, labelcolor=_TEXT)


def _draw_counts(axes: Any, result: Mapping[str, Any]) -> None:
    bins = [each for each in result["bins"] if each["count"]]
    axes.bar(
        [each["lower"] for each in bins],
        [each["count"] for each in bins],
        [each["upper"] - each["lower"] for each in bins],
        align="edge",
        color=_LINE,
        edgecolor="white",
        linewidth=0.8,
    )
    # Most words lie in the last bin; on a linear axis the others could not be seen.
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.7)
    axes.set(xlabel="confidence (posterior of the most probable tag)", ylabel="words")
    axes.axvline(result["accuracy"], color=_BAR, linewidth=1.2)
    words = sum(each["count"] for each in bins)
    mean = sum(each["count"] * each["confidence"] for each in bins) / max(words, 1)
    axes.axvline(mean, color=_GAP, linewidth=1.2, linestyle=(0, (5, 4)))
    axes.set_title(
        f"{words:,} words: accuracy {result['accuracy']:.3f}, mean confidence {mean:.3f}",
        fontsize=9,
        color=_TEXT,
        loc="left",
    )


def _rgb(colour: str) -> tuple[float, float, float]:
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue
