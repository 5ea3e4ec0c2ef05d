"""What `distill-jax evaluate --html` writes: one model, or two beside each other, on tagged sentences."""

from collections.abc import Sequence

from distill_jax.report.blocks import Beside, Subheading
from distill_jax.report.cases import Case, Evaluated, cases
from distill_jax.report.confusion import Confusion
from distill_jax.report.confusion_tables import confusion_tables
from distill_jax.report.examples import different_sentences, wrong_sentences
from distill_jax.report.metric_tables import headline, per_label, tiles
from distill_jax.report.model_names import called
from distill_jax.report.notes import unknown_labels_note
from distill_jax.report.page import Section, page
from distill_jax.report.reliability import reliability
from distill_jax.report.rendering import Block
from distill_jax.report.table import Column, Table
from distill_jax.tagging import Sentence


def evaluation_page(
    data: str,
    sentences: Sequence[Sentence],
    models: Sequence[Evaluated],
    *,
    examples: int = 100,
    names: Sequence[str] = (),
    title: str = "Evaluation",
    more: Sequence[Section] = (),
) -> str:
    """The page.

    Args:
        data: where the sentences lie, as the user named it.
        sentences: all with tags.
        models: the one that is evaluated, and the one it is compared with, if there is one.
        examples: how many sentences are shown, of those wrong and of those tagged differently.
        names: what the models are called; empty: as their folders are (`called`).
        title: of the page.
        more: sections after the others.
    """
    first = models[0]
    names = names or called([model.model for model in models])
    heads = names if len(models) > 1 else ("value",)
    results = {head: model.result for head, model in zip(heads, models, strict=True)}
    answered = cases(sentences, models)
    sections = [
        Section("figures", "Figures", [_about(data, models, names), *headline(results)]),
        Section("labels", "Labels", [per_label(results)]),
        Section("confusion", "Confusion between labels", confusion_tables(_confusion(answered))),
    ]
    if sure := _reliability(models, names):
        sections.append(Section("reliability", "Reliability", sure))
    wrong = wrong_sentences(answered, first.labels, examples)
    sections.append(Section("wrong", "Sentences tagged wrongly", [wrong]))
    if len(models) > 1:
        labels = list(dict.fromkeys(name for model in models for name in model.labels.names))
        different = different_sentences(answered, labels, examples, names)
        sections.append(Section("different", "Sentences the models tag differently", [different]))
    lead = f"{first.model} on {len(sentences):,} sentences of {data}"
    if len(models) > 1:
        lead += f", beside {models[1].model}"
    lead += "."
    for name, result in results.items():
        if note := unknown_labels_note(result):
            lead += f" Of {name}: {note}." if len(models) > 1 else f" Note: {note}."
    return page(title, lead, tiles(first.result), [*sections, *more])


def _reliability(models: Sequence[Evaluated], names: Sequence[str]) -> list[Block]:
    """A diagram of each model whose decoder has posteriors, beside each other where there is room."""
    diagrams = [
        (name, reliability(model.result, name=f"reliability-{number}"))
        for number, (name, model) in enumerate(zip(names, models, strict=True))
        if "bins" in model.result
    ]
    if len(models) == 1:
        return [diagram for _, diagram in diagrams]
    return [Beside([[Subheading(name), diagram] for name, diagram in diagrams])] if diagrams else []


def _about(data: str, models: Sequence[Evaluated], names: Sequence[str]) -> Table:
    """The models with their decoders and temperatures."""
    columns = [Column("model", "code"), Column("decoder", "text"), Column("temperature")]
    rows = [
        [model.model, _decoder(model), f"{model.result['temperature']:.4g}"] for model in models
    ]
    if len(models) > 1:
        columns.insert(0, Column("", "text"))
        rows = [[name, *row] for name, row in zip(names, rows, strict=True)]
    return Table(f"Evaluated on {data}", columns, rows)


def _decoder(model: Evaluated) -> str:
    settings = dict(model.result["decoder"])
    algorithm = settings.pop("algorithm")
    return ", ".join([algorithm, *(f"{name} {value}" for name, value in settings.items())])


def _confusion(answered: Sequence[Case]) -> Confusion:
    counts = Confusion()
    for case in answered:
        counts.update(case.gold, case.answers[0].spans)
    return counts
