"""The main job on the embedded data set: teacher, labels, students, evaluation, report.

Each step is a run that a Gin file configures, just as a user would run it; only the data need no
SeqIO, for they are generated. What the story does not need takes as long again, and is done if asked for.
"""

import dataclasses
import json
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from distill_jax.data import demo as demo_data
from distill_jax.data.prepare import definitions_hash
from distill_jax.data.prepared import PreparedDataset
from distill_jax.data.subsets import few_shot
from distill_jax.files import atomic_write, write_text
from distill_jax.inference import evaluate, scalars
from distill_jax.jobs.labelling import label
from distill_jax.jobs.launch import configured
from distill_jax.report.summary import print_f1, print_summary
from distill_jax.tagger import Tagger
from distill_jax.tagging import Sentence
from distill_jax.train.selection import Outcome


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Sentences: the teacher's splits, and what students learn from and are selected on."""

    train: int = 4000
    valid: int = 400
    test: int = 1000
    gold: int = 100
    dev: int = 50
    silver: int = 2000


def demo(
    out: str | Path,
    *,
    full: bool = False,
    seed: int = 0,
    sizes: Sizes | None = None,
    bindings: Sequence[str] = (),
) -> dict[str, Any]:
    """Runs the demo and leaves models, labels, `summary.json` and `summary.txt` below `out`.

    Students are a BiLSTM of gold sentences alone and one by distillation; if `full`, one of pseudo-labels
    and a smaller T5 as well. `bindings` are Gin bindings for every run, `TRAIN_STEPS=10` say. Returns the
    summary. A directory of an earlier demo is continued where it stopped.
    """
    out, sizes = Path(out), sizes or Sizes()
    start = time.monotonic()
    few_shot_task = _prepare(out / "prepared", sizes, seed)
    test = demo_data.generate("test", sizes.test, seed)
    common = [_bound("PREPARED_DATA_DIR", out / "prepared"), f"SEED={seed}", *bindings]

    _say("teacher: a T5 on the labelled sentences, in the SenT′ format")
    models = [_teacher(out, common, test)]
    _say(f"labels: SenTScore posteriors of the teacher for {sizes.gold + sizes.silver} sentences")
    _label(out, few_shot_task)
    student_bindings = [*common, _bound("MIXTURE_OR_TASK_NAME", few_shot_task)]
    labels = _bound("TEACHER_LABELS", out / "labels")
    descriptions = {
        "gold": f"on {sizes.gold} labelled sentences alone",
        "pseudo": f"on those and the teacher's tags for {sizes.silver} more",
        "kd": "on those, the tags and the teacher's posteriors",
    }
    recipes = {"gold": ["TEACHER_LABELS=None"], "pseudo": [labels, "KL_WEIGHT=0.0"], "kd": [labels]}
    for recipe, extra in recipes.items():
        if recipe == "pseudo" and not full:
            continue
        _say(f"student: a BiLSTM, {descriptions[recipe]}")
        models.append(
            _student(out, f"bilstm-{recipe}", recipe, "bilstm", [*student_bindings, *extra], test)
        )
    if full:
        vocabulary = _bound("VOCABULARY", out / "teacher" / "vocabulary")
        _say(f"student: a smaller T5, {descriptions['kd']}")
        student = [*student_bindings, labels, vocabulary]
        models.append(_student(out, "t5-kd", "kd", "t5", student, test))
    summary = {
        "dataset": "demo",
        "sentences": dataclasses.asdict(sizes),
        "seconds": time.monotonic() - start,
        "models": models,
    }
    write_text(out / "summary.json", json.dumps(summary, indent=2) + "\n")
    with atomic_write(out / "summary.txt") as temporary, temporary.open("w") as file:
        console = Console(file=file, width=120)
        print_summary(models, console)
        print_f1(models, console)
    print_summary(models)
    print_f1(models)
    _say_how_to_use(out)
    return summary


def _say_how_to_use(out: Path) -> None:
    model = shlex.quote(f"{out}/bilstm-kd/model")
    print(f"{out / 'summary.json'} holds these figures; the models are {out}/*/model:")
    print(f"  echo 'play wow by jon theodore' | distill-jax predict --model {model} \\")
    print("    --input - --output -")
    print("or, with a page to try it on (pip install '.[serve]'):")
    print(f"  distill-jax serve --model {model}")


def _bound(name: str, value: str | Path) -> str:
    return f"{name}={str(value)!r}"


def _say(text: str) -> None:
    print(f"== {text}", flush=True)


def _prepare(directory: Path, sizes: Sizes, seed: int) -> str:
    """Writes the generated sentences as prepared data; returns the few-shot task's name."""
    definitions = definitions_hash()
    labels = demo_data.LABELS

    def write(task: str, split: str, sentences: Sequence[Sentence]) -> None:
        PreparedDataset.write(
            directory / task / split,
            sentences,
            labels,
            task=task,
            split=split,
            definitions=definitions,
        )

    splits = {
        name: demo_data.generate(name, size, seed)
        for name, size in (("train", sizes.train), ("valid", sizes.valid), ("test", sizes.test))
    }
    for name, sentences in splits.items():
        write("demo", name, sentences)
    task = f"demo_gold{sizes.gold}_dev{sizes.dev}_seed{seed}"
    subset = few_shot(
        splits["train"], gold=sizes.gold, dev=sizes.dev, silver=sizes.silver, seed=seed
    )
    for name, sentences in subset.items():
        write(task, name, sentences)
    return task


def _teacher(out: Path, bindings: Sequence[str], test: Sequence[Sentence]) -> dict[str, Any]:
    files = ["gin/runs/demo/teacher.gin"]
    outcome = configured(files, [*bindings, _bound("MODEL_DIR", out / "teacher")]).run()
    return _entry(out, "teacher", "teacher", "gold", outcome, test)


def _label(out: Path, task: str) -> None:
    model = out / "teacher" / "model"
    pool = {
        sentence.words: sentence
        for split in ("gold", "silver")
        for sentence in PreparedDataset.open(out / "prepared" / task / split)
    }
    label(Tagger.load(model), model, list(pool.values()), out / "labels")


def _student(
    out: Path,
    name: str,
    recipe: str,
    kind: str,
    bindings: Sequence[str],
    test: Sequence[Sentence],
) -> dict[str, Any]:
    files = [f"gin/runs/demo/{kind}.gin"]
    outcome = configured(files, [*bindings, _bound("MODEL_DIR", out / name)]).run()
    return _entry(out, name, "student", recipe, outcome, test)


def _entry(
    out: Path, name: str, role: str, recipe: str, outcome: Outcome, test: Sequence[Sentence]
) -> dict[str, Any]:
    """One model of `summary.json`, from its model directory as a user would load it."""
    tagger = Tagger.load(out / name / "model")
    words = [sentence.words for sentence in test]
    tagger.predict_ids(words)  # compiles
    start = time.monotonic()
    predictions = tagger.predict_ids(words)
    seconds = time.monotonic() - start
    return {
        "name": name,
        "role": role,
        "recipe": recipe,
        "parameters": tagger.parameters,
        **scalars(evaluate(tagger.labels, test, predictions)),
        "sentences_per_second": len(words) / seconds,
        "seconds_to_train": outcome.seconds,
    }
