"""Tables for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table


def print_evaluation(result: Mapping[str, Any], console: Console | None = None) -> None:
    """The metrics of one model: headline figures, then one line a label."""
    console = console or Console()
    headline = Table("metric", "value", title="all labels")
    for name in ("f1", "precision", "recall", "f1_strict", "perfect", "illegal", "ece", "brier"):
        headline.add_row(name, f"{result[name]:.4f}")
    for name in ("sentences", "words", "parameters"):
        headline.add_row(name, f"{result[name]:,}")
    headline.add_row("sentences/s", f"{result['sentences_per_second']:,.1f}")
    console.print(headline)
    labels = Table("label", "precision", "recall", "f1", "support", title="per label")
    for label, figures in sorted(result["per_label"].items()):
        shown = (f"{figures[name]:.4f}" for name in ("precision", "recall", "f1"))
        labels.add_row(label, *shown, f"{figures['support']:,}")
    console.print(labels)


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
