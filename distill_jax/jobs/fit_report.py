"""The scores of what `distill-jax fit` has made, and its page."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from distill_jax.files import write_text
from distill_jax.inference import evaluate
from distill_jax.jobs.fit_data import FitData
from distill_jax.jobs.fit_recipes import Places
from distill_jax.report.cases import Evaluated
from distill_jax.report.evaluation import evaluation_page
from distill_jax.report.page import Section
from distill_jax.report.table import Column, Table
from distill_jax.tagger import Tagger
from distill_jax.tagging import Sentence

TIMED = "sentences_per_second"
_NAMES = {"valid": "dev", "test": "test"}


class Report(NamedTuple):
    """For each model its figures on each split, and sentences a second."""

    metrics: dict[str, dict[str, Any]]
    speeds: dict[str, float]


def report(
    places: Places, data: FitData, teacher: Path | None, about: Sequence[tuple[str, str]]
) -> Report:
    """Scores the student and its teacher on dev and test, and writes the page, of test where there is one.

    `about` says how they came about, for the page.
    """
    models = {"student": places.model} | ({} if teacher is None else {"teacher": teacher})
    splits = {
        name: data.splits()[split] for split, name in _NAMES.items() if split in data.splits()
    }
    metrics: dict[str, dict[str, Any]] = {}
    speeds: dict[str, float] = {}
    shown = []
    for name, model in models.items():
        tagger = Tagger.load(model)
        found = {split: _score(tagger, model, each) for split, each in splits.items()}
        last = list(found.values())[-1]
        speeds[name] = last.result[TIMED]
        shown.append(last)
        metrics[name] = {
            split: {key: value for key, value in one.result.items() if key != TIMED}
            for split, one in found.items()
        }
    split = list(splits)[-1]
    made = Table("How it was made", [Column("what", "text"), Column("value", "text")], list(about))
    html = evaluation_page(
        f"the {split} split",
        splits[split],
        shown,
        names=tuple(models),
        title="A tagger from your data",
        more=[Section("made", "How it was made", [made])],
    )
    write_text(places.page, html)
    return Report(metrics, speeds)


def how_made(
    data: FitData, labelled: int, teacher: Path | None, done: dict[str, Any]
) -> list[tuple[str, str]]:
    """How the models came about, from what the steps have left (`done`)."""
    rows = [
        ("labelled sentences", f"{len(data.train):,}, and {len(data.dev):,} for dev"),
        (
            "their variants, mentions swapped" if data.swapped else "unlabelled sentences",
            f"{labelled:,} used of {len(data.unlabelled):,}",
        ),
        ("teacher", "none" if teacher is None else str(teacher)),
    ]
    for run in ("teacher", "student"):
        if run in done:
            steps = done[f"{run}-plan"]["steps"]
            best = f"{steps:,} steps, best on dev at {done[run]['best_step']:,}"
            if run == "student" and done["then_gold"]:
                best = f"{steps:,} steps on posteriors, then gold tags alone"
            rows.append((f"{run}'s training", best))
    rows.append(("temperature", f"{done['model']['temperature']:.4g}, fitted on dev"))
    return rows


def _score(tagger: Tagger, model: Path, sentences: Sequence[Sentence]) -> Evaluated:
    """All figures; compilation is no part of the speed."""
    words = [sentence.words for sentence in sentences]
    tagger.warm_up(words)
    start = time.monotonic()
    predictions = tagger.predict_ids(words)
    seconds = time.monotonic() - start
    result = {
        **evaluate(tagger.labels, sentences, predictions),
        "parameters": tagger.parameters,
        "temperature": tagger.settings.temperature,
        "decoder": tagger.decoder,
        TIMED: len(words) / seconds,
    }
    if tagger.frozen_parameters:
        result["frozen_parameters"] = tagger.frozen_parameters
    return Evaluated(str(model), tagger.labels, predictions, result)


def table(scores: dict[str, Any]) -> list[str]:
    """A line a model: F1 on each split, calibration and speed."""
    metrics: dict[str, dict[str, Any]] = scores["metrics"]
    splits = list(next(iter(metrics.values())))
    lines = ["".ljust(10) + "".join(f"{split + ' F1':>10}" for split in splits)
             + f"{'ECE':>8}{'sentences/s':>14}"]  # fmt: skip
    for name, of_splits in metrics.items():
        last = of_splits[splits[-1]]
        f1 = "".join(f"{100 * of_splits[split]['f1']:10.2f}" for split in splits)
        lines.append(f"{name:10}{f1}{last['ece']:8.3f}{scores['speeds'][name]:14,.0f}")
    return lines
