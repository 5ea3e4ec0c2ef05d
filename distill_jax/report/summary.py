"""What commands print of models, as Rich tables in the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from distill_jax.report.notes import unknown_labels_note
from distill_jax.report.number_format import share

_SHARES = (
    *("f1", "precision", "recall", "f1_strict", "perfect", "illegal", "malformed"),
    *("ece", "brier", "nll", "unexplored", "gold_unexplored"),
)
_COUNTS = ("sentences", "words", "parameters", "frozen_parameters")


def print_evaluation(result: Mapping[str, Any], console: Console | None = None) -> None:
    """The metrics of one model: headline figures, then one line a label.

    Figures that a decoder (or a file of predictions) has none of are left out; those only some have
    follow in tables of their own: the kinds of malformed outputs, and what fitting the temperature
    changed.
    """
    console = console or Console()
    headline = Table("metric", "value", title="all labels")
    for name in _SHARES:
        if name in result:
            headline.add_row(name, share(result[name]))
    for name in _COUNTS:
        if name in result:
            headline.add_row(name, f"{result[name]:,}")
    if "sentences_per_second" in result:
        headline.add_row("sentences/s", f"{result['sentences_per_second']:,.1f}")
    if "warmup_seconds" in result:
        headline.add_row("warm-up s", f"{result['warmup_seconds']:,.1f}")
    console.print(headline)
    if note := unknown_labels_note(result):
        console.print(Text(note))  # as text, like the labels below
    if "parts" in result:
        parts = Table("data", "precision", "recall", "f1", "sentences", title="each file or task")
        for part in result["parts"]:
            shown = (share(part[name]) for name in ("precision", "recall", "f1"))
            parts.add_row(Text(part["name"]), *shown, f"{part['sentences']:,}")
        parts.add_row("mean", "", "", share(result["f1_mean"]), "")
        console.print(parts)
    labels = Table("label", "precision", "recall", "f1", "support", title="per label")
    for label, figures in sorted(result["per_label"].items()):
        shown = (f"{figures[name]:.4f}" for name in ("precision", "recall", "f1"))
        # As text: Rich would take a label in brackets for one of its styles.
        labels.add_row(Text(label), *shown, f"{figures['support']:,}")
    console.print(labels)
    if result.get("malformations"):
        title = "malformed outputs (counted as all O)"
        kinds = Table("malformed", "sentences", title=title, min_width=len(title) + 2)
        for kind, part in result["malformations"].items():
            kinds.add_row(kind, f"{part:.4f}")
        console.print(kinds)
    if "temperature_fit" in result:
        fit = Table("", *result["temperature_fit"], title="temperature")
        for name in ("temperature", "nll", "ece", "brier"):
            fit.add_row(name, *(f"{of[name]:.4f}" for of in result["temperature_fit"].values()))
        console.print(fit)


def print_summary(models: Sequence[Mapping[str, Any]], console: Console | None = None) -> None:
    """One line a model, narrow enough for 80 columns; `summary.json` has more figures."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("model", no_wrap=True)
    for name in ("parameters", "F1", "perfect", "ECE", "sent./s", "train s"):
        table.add_column(name, justify="right", no_wrap=True)
    for model in models:
        table.add_row(
            model["name"],
            f"{model['parameters']:,}",
            f"{model['f1']:.4f}",
            f"{model['perfect']:.4f}",
            f"{model['ece']:.4f}",
            f"{model['sentences_per_second']:,.0f}",
            f"{model['seconds_to_train']:.0f}",
        )
    (console or Console()).print(table)


def print_f1(
    models: Sequence[Mapping[str, Any]], console: Console | None = None, width: int = 40
) -> None:
    """A bar a model, as long as its F1 of the `width` that 1 has."""
    table = Table(box=None, pad_edge=False)
    table.add_column("F1", no_wrap=True)
    table.add_column(f"0{'1':>{width - 1}}", no_wrap=True)
    for model in models:
        bar = "█" * round(width * model["f1"])
        table.add_row(model["name"], f"{bar:·<{width}} {model['f1']:.3f}")
    (console or Console()).print(table)
    (console or Console()).print()
