"""The metrics of a model, or of two beside each other, as tiles and tables of a page."""

from collections.abc import Mapping, Sequence
from typing import Any

from distill_jax.report.number_format import share, short
from distill_jax.report.page import Tile
from distill_jax.report.table import Cell, Column, Table

_SHARES = {
    "f1": "micro-F1 of spans, as conlleval counts them",
    "precision": "of the predicted spans, how many are right",
    "recall": "of the gold spans, how many are found",
    "f1_strict": "micro-F1 where a span begins at B alone (strict IOB2)",
    "perfect": "of the sentences, how many have all spans right and no others",
    "illegal": "of the sentences, how many have tags that are not IOB2",
    "malformed": "of the sentences, for how many the model wrote something malformed (counted as "
    "all O)",
    "accuracy": "of the words, how many have the right most probable tag",
    "ece": "expected calibration error: how far confidence is from accuracy",
    "brier": "squared error of the words' distributions over tags, 0 to 2",
    "nll": "negative log-likelihood of a word's gold tag, in nats; from a T5 given the tags it found "
    "before, after which the gold one may be illegal, and counts as all but impossible",
    "unexplored": "probability of tags that the decoder did not look at, a word",
    "gold_unexplored": "of the words, for how many the gold tag was not looked at",
}
_COUNTS = {
    "sentences": "in the data",
    "words": "in the data",
    "parameters": "in the model",
    "frozen_parameters": "of word vectors that were not trained",
}
_NOTHING = {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
"""The figures of a label that a model has no spans of."""


def tiles(result: Mapping[str, Any]) -> list[Tile]:
    """The figures of a model that stand at the head of its page."""
    calibration = (
        [Tile("ECE", f"{result['ece']:.4f}", "calibration, 0 is best")] if "ece" in result else []
    )
    return [
        Tile("F1", f"{100 * result['f1']:.2f}%", "spans, conlleval"),
        Tile("Precision", f"{100 * result['precision']:.2f}%"),
        Tile("Recall", f"{100 * result['recall']:.2f}%"),
        Tile("Perfect", f"{100 * result['perfect']:.2f}%", "of the sentences"),
        *calibration,
        Tile("Speed", f"{result['sentences_per_second']:,.0f}", "sentences a second"),
        Tile("Size", short(result["parameters"]), "parameters"),
    ]


def headline(results: Mapping[str, Mapping[str, Any]]) -> list[Table]:
    """All figures, a column a model; those no model has are left out.

    Tables of what only some models have follow: kinds of malformed outputs, and what fitting the
    temperature changed.

    Args:
        results: for the heading of each column what `evaluate --json` writes.
    """
    models = list(results.values())
    rows = []
    for names, form in ((_SHARES, share), (_COUNTS, "{:,}".format)):
        for name, meaning in names.items():
            if any(name in model for model in models):
                shown = [form(model[name]) if name in model else "–" for model in models]
                rows.append([name, *shown, meaning])
    speeds = [f"{model['sentences_per_second']:,.1f}" for model in models]
    rows.append(["sentences/s", *speeds, "compilation not counted"])
    if any("warmup_seconds" in model for model in models):
        times = [
            f"{model['warmup_seconds']:,.1f}" if "warmup_seconds" in model else "–"
            for model in models
        ]
        rows.append(["warm-up s", *times, "to compile it"])
    columns = [Column("metric", "text"), *map(Column, results), Column("meaning", "note")]
    tables = [Table("All labels", columns, rows)]
    for name, model in results.items():
        of = f" of {name}" if len(results) > 1 else ""
        if model.get("malformations"):
            tables.append(_malformations(model["malformations"], of))
        if "temperature_fit" in model:
            tables.append(_temperature_fit(model["temperature_fit"], of))
    return tables


def _malformations(shares: Mapping[str, float], of: str) -> Table:
    return Table(
        f"Malformed outputs{of} (share of the sentences; counted as all O)",
        [Column("malformed", "text"), Column("share")],
        [[kind, share(part)] for kind, part in shares.items()],
    )


def _temperature_fit(fit: Mapping[str, Mapping[str, float]], of: str) -> Table:
    return Table(
        f"What fitting the temperature{of} changed",
        [Column("", "text"), *map(Column, fit)],
        [
            [name, *(f"{figures[name]:.4f}" for figures in fit.values())]
            for name in ("temperature", "nll", "ece", "brier")
        ],
    )


def per_label(results: Mapping[str, Mapping[str, Any]]) -> Table:
    """Precision, recall, F1 and support of each label; of further models F1 alone."""
    first, *others = (result["per_label"] for result in results.values())
    _, *names = results
    rows: list[list[Cell]] = []
    for label in sorted(set(first).union(*others)):
        own, *theirs = (of.get(label, _NOTHING) for of in (first, *others))
        support = max(of["support"] for of in (own, *theirs))
        precision, recall = f"{own['precision']:.4f}", f"{own['recall']:.4f}"
        bars = [of["f1"] for of in (own, *theirs)]
        rows.append([label, precision, recall, *bars, f"{support:,}"])
    return Table(
        "Per label; support is the number of gold spans",
        [
            Column("label", "text"),
            Column("precision"),
            Column("recall"),
            Column("F1", "bar"),
            *(Column(f"F1 of {name}", "bar") for name in names),
            Column("support"),
        ],
        rows,
    )


def agreement(counts: Sequence[Sequence[int]], first: str, second: str, caption: str) -> Table:
    """Sentences by whether each of two models has all spans right.

    Args:
        counts: [2, 2]: the first model right (0) or wrong (1), the second right or wrong.
        first, second: what the models are called.
        caption: of the table.
    """
    return Table(
        caption,
        [Column("", "text"), Column(f"{second} right"), Column(f"{second} wrong")],
        [
            [f"{first} {name}", *(f"{count:,}" for count in row)]
            for name, row in zip(("right", "wrong"), counts, strict=True)
        ],
    )


def bins_table(bins: Sequence[Mapping[str, Any]]) -> Table:
    """The numbers that the reliability diagram draws."""
    return Table(
        "Words by confidence",
        [
            Column("confidence", "text"),
            Column("words"),
            Column("mean confidence"),
            Column("accuracy"),
        ],
        [
            [
                f"{each['lower']:.2f} to {each['upper']:.2f}",
                f"{each['count']:,}",
                f"{each['confidence']:.4f}",
                f"{each['accuracy']:.4f}",
            ]
            for each in bins
            if each["count"]
        ],
    )
