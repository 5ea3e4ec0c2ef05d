"""The README.md of a model directory."""

from collections.abc import Mapping
from typing import Any

from distill_jax.tagging.labels import LabelSet


def model_card(
    *,
    labels: LabelSet,
    architecture: str,
    parameters: int,
    frozen_parameters: int,
    metadata: Mapping[str, Any],
) -> str:
    """A short text in Markdown: what the model is, its labels, its scores and how to load it.

    Args:
        labels: of the model.
        architecture: in a few words.
        parameters: how many, without
        frozen_parameters: those that were never trained.
        metadata: `name`, `role`, `metrics` (names to numbers, of the dev split) and `training` (anything),
            where there are any.
    """
    name = str(metadata.get("name") or "sequence tagger")
    lines = [f"# {name}", ""]
    role = f"A {metadata['role']}: a" if metadata.get("role") else "A"
    count = f"{parameters:,} parameters"
    if frozen_parameters:
        count += (
            f", and {frozen_parameters:,} frozen ones (vectors of words that were not in training)"
        )
    lines += [f"{role} sequence tagger of the kind {architecture}, {count}.", ""]
    lines += ["## Labels", "", "| label | text |", "|---|---|"]
    lines += [
        f"| {_cell(label)} | {_cell(text)} |"
        for label, text in zip(labels.names, labels.texts, strict=True)
    ]
    lines.append("")
    if metadata.get("metrics"):
        lines += ["## Scores on the dev split", "", "| metric | value |", "|---|---|"]
        lines += [f"| {_cell(k)} | {_cell(_number(v))} |" for k, v in metadata["metrics"].items()]
        lines += [
            "",
            "The step of training whose model this is was chosen by them, so they are a little too good; "
            "`distill-jax evaluate --model this/directory --data test.conll` scores it on other sentences.",
            "",
        ]
    if metadata.get("training"):
        lines += ["## Training", ""]
        lines += [f"- {key}: {value}" for key, value in _items(metadata["training"])]
        lines.append("")
    lines += [
        "## Use",
        "",
        "```python",
        "from distill_jax import Tagger",
        "",
        'tagger = Tagger.load("this/directory")',
        "```",
        "",
        "or `distill-jax predict --model this/directory --input sentences.txt --output -`.",
    ]
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|")


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _items(training: Any) -> list[tuple[str, Any]]:
    return list(training.items()) if isinstance(training, Mapping) else [("notes", training)]
