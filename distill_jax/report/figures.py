"""The metrics of a model, or of two beside each other, as tables."""

from collections.abc import Mapping, Sequence
from typing import Any

from distill_jax.report.elements import Html, element, join, table
from distill_jax.report.page import Tile

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
    "nll": "negative log-likelihood of a word's gold tag, in nats",
    "unexplored": "probability of tags that the decoder did not look at, a word",
    "gold_unexplored": "of the words, for how many the gold tag was not looked at",
}
_COUNTS = {
    "sentences": "in the data",
    "words": "in the data",
    "parameters": "in the model",
}


def share(value: float) -> str:
    """Four places, or two digits of what would be 0.0000."""
    return f"{value:.4f}" if value == 0 or value >= 5e-5 else f"{value:.1e}"


def tiles(result: Mapping[str, Any]) -> list[Tile]:
    """What is asked first."""
    found = [
        Tile("F1", f"{100 * result['f1']:.2f}%", "spans, conlleval"),
        Tile("Precision", f"{100 * result['precision']:.2f}%"),
        Tile("Recall", f"{100 * result['recall']:.2f}%"),
        Tile("Perfect", f"{100 * result['perfect']:.2f}%", "of the sentences"),
    ]
    if "ece" in result:
        found.append(Tile("ECE", f"{result['ece']:.4f}", "calibration, 0 is best"))
    found.append(Tile("Speed", f"{result['sentences_per_second']:,.0f}", "sentences a second"))
    found.append(Tile("Size", _short(result["parameters"]), "parameters"))
    return found


def headline(results: Mapping[str, Mapping[str, Any]]) -> Html:
    """All figures, a column a model; those no model has are left out.

    Args:
        results: for the heading of each column what `evaluate --json` writes.
    """
    models = list(results.values())
    rows = []
    for names, form in ((_SHARES, share), (_COUNTS, "{:,}".format)):
        for name, meaning in names.items():
            if any(name in model for model in models):
                shown = [form(model[name]) if name in model else "–" for model in models]
                rows.append([name, *shown, element("span", meaning, class_="quiet")])
    speeds = [f"{model['sentences_per_second']:,.1f}" for model in models]
    rows.append(
        ["sentences/s", *speeds, element("span", "compilation not counted", class_="quiet")]
    )
    if any("warmup_seconds" in model for model in models):
        times = [
            f"{model['warmup_seconds']:,.1f}" if "warmup_seconds" in model else "–"
            for model in models
        ]
        rows.append(["warm-up s", *times, element("span", "to compile it", class_="quiet")])
    parts = [
        table(
            ("metric", *results, "meaning"),
            rows,
            caption="All labels",
            text_columns=(0, len(results) + 1),
        )
    ]
    for name, model in results.items():
        of = f" of {name}" if len(results) > 1 else ""
        if model.get("malformations"):
            kinds = [[kind, share(part)] for kind, part in model["malformations"].items()]
            caption = f"Malformed outputs{of} (share of the sentences; counted as all O)"
            parts.append(table(("malformed", "share"), kinds, caption=caption))
        if "temperature_fit" in model:
            fit = model["temperature_fit"]
            lines = [
                [name, *(f"{figures[name]:.4f}" for figures in fit.values())]
                for name in ("temperature", "nll", "ece", "brier")
            ]
            caption = f"What fitting the temperature{of} changed"
            parts.append(table(("", *fit), lines, caption=caption))
    return join(parts)


def per_label(results: Mapping[str, Mapping[str, Any]]) -> Html:
    """Precision, recall, F1 and support of each label; of further models F1 alone."""
    first, *others = results.values()
    _, *names = results
    labels = sorted(set(first["per_label"]).union(*(other["per_label"] for other in others)))
    nothing = {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
    rows = []
    for label in labels:
        own = first["per_label"].get(label, nothing)
        support = max(
            model["per_label"].get(label, nothing)["support"] for model in results.values()
        )
        rows.append(
            [
                label,
                f"{own['precision']:.4f}",
                f"{own['recall']:.4f}",
                _with_bar(own["f1"]),
                *(_with_bar(other["per_label"].get(label, nothing)["f1"]) for other in others),
                f"{support:,}",
            ]
        )
    head = ["label", "precision", "recall", "F1", *(f"F1 of {name}" for name in names), "support"]
    return table(head, rows, caption="Per label; support is the number of gold spans")


def agreement(counts: Sequence[Sequence[int]], first: str, second: str, caption: str) -> Html:
    """Sentences by whether each of two models has all spans right.

    Args:
        counts: [2, 2]: the first model right (0) or wrong (1), the second right or wrong.
        first, second: what the models are called.
        caption: of the table.
    """
    rows = [
        [f"{first} {name}", *(f"{count:,}" for count in row)]
        for name, row in zip(("right", "wrong"), counts, strict=True)
    ]
    return table(("", f"{second} right", f"{second} wrong"), rows, caption=caption)


def bins_table(bins: Sequence[Mapping[str, Any]]) -> Html:
    """The numbers that the reliability diagram draws."""
    rows = [
        [
            f"{each['lower']:.2f} to {each['upper']:.2f}",
            f"{each['count']:,}",
            f"{each['confidence']:.4f}",
            f"{each['accuracy']:.4f}",
        ]
        for each in bins
        if each["count"]
    ]
    head = ("confidence", "words", "mean confidence", "accuracy")
    return table(head, rows, caption="Words by confidence")


def _short(parameters: int) -> str:
    """Three digits."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if parameters >= size:
            return f"{parameters / size:.3g}{letter}"
    return str(parameters)


def _with_bar(value: float) -> Html:
    """A share with a bar of that length; the number is what counts."""
    bar = element("i", style=f"width:{100 * value:.1f}%")
    return join([f"{value:.4f}", element("span", bar, class_="bar", aria_hidden="true")])
