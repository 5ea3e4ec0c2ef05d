"""The parts of `distill-jax fit` that need JAX: runs from their Gin files, their rate, labels, scores."""

import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from distill_jax.data.prepare import definitions_hash
from distill_jax.data.prepared import PreparedDataset
from distill_jax.errors import UserError
from distill_jax.files import atomic_directory, atomic_write
from distill_jax.jobs.calibration import fitted_temperature
from distill_jax.jobs.fit_data import FitData
from distill_jax.jobs.fit_plan import Rate
from distill_jax.jobs.fit_recipes import Places
from distill_jax.jobs.labelling import label
from distill_jax.jobs.launch import configured
from distill_jax.labels.store import StoreOptions
from distill_jax.model_dir.settings import write_temperature
from distill_jax.modules import check_installed
from distill_jax.tagger import Tagger
from distill_jax.tagging import Sentence
from distill_jax.train.selection import Outcome

TEACHER_RATE_STEPS, STUDENT_RATE_STEPS = 20, 40
"""So many steps are timed, in four windows; the fastest counts: the first waits for what is read, and beside
the third a checkpoint is written, which on one core took 0.3 s a step of 0.02 s."""

LABEL_SHARD = 512
"""Sentences of a shard, of which a run that was killed labels one again."""

_TEXT_DEV = 1000  # the last lines of a task of text, which are its dev split


def write_data(places: Places, data: FitData) -> None:
    """Writes all sentences as a data directory with tasks in it, and prepares them for runs."""
    with atomic_directory(places.data) as temporary:
        folder = temporary / data.name
        folder.mkdir()
        data.labels.save(folder / "labels.txt")
        for split, sentences in data.splits().items():
            write_jsonl(folder / f"{split}.jsonl", sentences)
        write_jsonl(temporary / places.unlabelled.name, data.unlabelled)
        (temporary / "text").mkdir()
        lines = (" ".join(sentence.words) + "\n" for sentence in data.unlabelled)
        (temporary / "text" / f"{data.name}.txt").write_text("".join(lines), "utf-8")
    definitions = definitions_hash()
    folder = places.data / data.name
    files = [folder / "labels.txt", *(folder / f"{split}.jsonl" for split in data.splits())]
    for split, sentences in data.splits().items():
        PreparedDataset.write(
            places.prepared / data.name / split,
            sentences,
            data.labels,
            task=data.name,
            split=split,
            sources=files,
            definitions=definitions,
        )
    if len(data.unlabelled) > _TEXT_DEV:
        PreparedDataset.write(
            places.prepared / text_task(data) / "train",
            data.unlabelled[:-_TEXT_DEV],
            None,
            task=text_task(data),
            split="train",
            sources=[places.data / "text" / f"{data.name}.txt"],
            definitions=definitions,
        )


def text_task(data: FitData) -> str:
    """The task of the unlabelled sentences (`tasks.conll`)."""
    return f"{data.name}_text"


def write_jsonl(path: Path, sentences: Sequence[Sentence]) -> None:
    """Writes words, and tags where there are any, a sentence a line."""
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for sentence in sentences:
            fields: dict[str, Any] = {"tokens": sentence.words}
            if sentence.tags is not None:
                fields["tags"] = sentence.tags
            file.write(json.dumps(fields, ensure_ascii=False) + "\n")


def train(gin_file: Path) -> Outcome:
    """Trains what a Gin file describes, to its end; one that was stopped goes on."""
    # All of it goes to a file, and the last line to the screen.
    outcome: Outcome = configured([str(gin_file)], ["VERBOSE=True"]).run()
    return outcome


def check_run(gin: str, bindings: Sequence[str]) -> None:
    """Raises `UserError` as making a run of a Gin file and bindings does."""
    with tempfile.TemporaryDirectory(prefix="distill_jax-") as folder:
        file = Path(folder) / "student.gin"
        file.write_text(gin, "utf-8")
        configured([str(file)], bindings)


def measured_rate(gin: str, steps: int, out: Path) -> Rate:
    """How fast a run is, from its first steps in a folder below `out` that is removed again.

    `gin` is that of the run with the steps that are wanted. What is compiled for it here need not be compiled
    again, where there is a compilation cache, if it has these: only the end of its loop is another one.
    """
    folder = tempfile.mkdtemp(prefix=".tmp-", dir=out)  # left by a kill, `Stages.begin` removes it
    try:
        run, file = Path(folder) / "run", Path(folder) / "run.gin"
        values = {
            "MODEL_DIR": repr(str(run)),
            "Schedule.train_steps": str(steps),
            "Schedule.eval_period": str(steps // 2),
            "Schedule.log_period": str(steps // 4),
        }
        lines = "".join(f"{name} = {value}\n" for name, value in values.items())
        file.write_text(f"{gin}\n{lines}", "utf-8")
        start = time.monotonic()
        configured([str(file)]).run()
        seconds = time.monotonic() - start
        # Of a run in stages the first is the longest; the programs of all are compiled now.
        phases = [_records(path) for path in sorted(run.rglob("metrics.jsonl"))]
        windows = [r["step_seconds"] for r in phases[0] if r["kind"] == "train"]
        step = min(windows[1:])
        # The last: the first one compiles.
        evaluation = next(r["seconds"] for r in reversed(phases[0]) if r["kind"] == "dev")
        start = seconds - len(phases) * (steps * step + evaluation)
        compiling = 0.0
        if jax.config.jax_compilation_cache_dir is not None:  # type: ignore[attr-defined]
            compiling = sum(
                r["compile_seconds"] for each in phases for r in each if r["kind"] == "train"
            )
        return Rate(max(start - compiling, 0.0), step, evaluation, compiling)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _records(metrics: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in metrics.read_text("utf-8").splitlines()]


def seconds_to_label(model: Path, sentences: Sequence[Sentence]) -> float:
    """Seconds a sentence that a teacher needs, once its programs are compiled."""
    tagger = Tagger.load(model)
    some = sentences[:: max(len(sentences) // 128, 1)][:128]
    tagger.label(some)
    start = time.monotonic()
    tagger.label(some)
    return (time.monotonic() - start) / len(some)


def label_sentences(model: Path, sentences: Sequence[Sentence], places: Places) -> None:
    """Writes the store, or what is missing of it."""
    label(
        Tagger.load(model),
        model,
        sentences,
        places.labels,
        options=StoreOptions(shard_size=LABEL_SHARD),
    )


def calibrate(places: Places, data: FitData) -> float:
    """Copies the student's model with the temperature that suits dev, which is returned."""
    source = places.student / "model"
    tagger = Tagger.load(source)
    temperature = fitted_temperature(
        tagger, data.dev, tagger.decode([sentence.words for sentence in data.dev])
    )
    with atomic_directory(places.model) as temporary:
        shutil.copytree(source, temporary, dirs_exist_ok=True)
        write_temperature(temporary, temperature)
    return temperature


def export(places: Places) -> str | None:
    """Writes the ONNX export; None, or why there is none."""
    from distill_jax.export.directory import export_onnx

    try:
        check_installed("onnx", "onnxruntime", extra="onnx")
    except UserError as error:
        return str(error)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(places.onnx)  # of a run that was killed before it could say that it is done
    export_onnx(places.model, places.onnx)
    return None
