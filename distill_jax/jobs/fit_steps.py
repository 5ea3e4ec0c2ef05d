"""The steps of `distill-jax fit`, in order, each done once (`jobs.fit_stages`)."""

import contextlib
import dataclasses
import math
import shlex
import time
from pathlib import Path
from typing import Any

from distill_jax.files import read_json_object, sha256_file, write_json, write_text
from distill_jax.jobs import fit_plan
from distill_jax.jobs.fit_data import FitData
from distill_jax.jobs.fit_options import FitOptions, Screen
from distill_jax.jobs.fit_plan import Extent, Wanted
from distill_jax.jobs.fit_recipes import (
    Places,
    StudentStart,
    steps_by_hand,
    student_gin,
    teacher_gin,
)
from distill_jax.jobs.fit_stages import FOLDER, Stages
from distill_jax.jobs.fit_teacher import TeacherSource
from distill_jax.tagging import Sentence

TEXT_SENTENCES = 5000
"""With so many unlabelled sentences and no teacher, word vectors are made from them."""


class Fitting:
    """The steps, in order."""

    def __init__(
        self,
        options: FitOptions,
        data: FitData,
        source: TeacherSource | None,
        start: StudentStart,
        stages: Stages,
        screen: Screen,
        began: float,
    ) -> None:
        self.options, self.data, self.source, self.start = options, data, source, start
        self.stages, self.screen, self.began = stages, screen, began
        self.places = Places(Path(options.out))
        self._labelled = 0
        self._seconds = 0.0  # of all steps, those of earlier commands too

    def run(self) -> None:
        """All of them."""
        from distill_jax.jobs.fit_training import write_data

        self._check_student()
        before: dict[str, Any] = {"inputs": {**self.data.hashes(), "seed": self.options.seed}}
        before = self._do("data", before, "data", lambda: write_data(self.places, self.data))
        model = None
        if self.source is not None:
            model, before = self._teacher(self.source, before)
            before = self._label(model, before)
        before = self._student(model, before)
        before = self._calibrated(before)
        scores = self._scores(model, before)
        export = self._export(before)
        script = steps_by_hand(self.places, self.data, self.source, self._labelled)
        write_text(self.places.out / FOLDER / "steps.sh", script)
        self._say_results(scores, export)

    def _do(self, name: str, settings: dict[str, Any], what: str, work: Any) -> dict[str, Any]:
        """A step, timed; its settings with what came of it are those of the next."""

        def timed() -> dict[str, Any]:
            start = time.monotonic()
            with self._working(what):
                result = work() or {}
            return {**result, "seconds": round(time.monotonic() - start, 1)}

        result = self.stages.do(name, settings, timed)
        self._seconds += result["seconds"]
        # Scores of a run that was killed are the same, its seconds are not.
        return {**settings, name: {k: v for k, v in result.items() if k != "seconds"}}

    def _working(self, what: str) -> contextlib.AbstractContextManager[None]:
        return self.screen.working(what, self.places.out / FOLDER / "log.txt")

    def _left(self) -> float:
        """Seconds."""
        return 60 * self.options.minutes - (time.monotonic() - self.began)

    def _planned(
        self,
        run: str,
        settings: dict[str, Any],
        wanted: Wanted,
        given: int | None,
        gin: Any,
        *,
        then_gold: bool = False,
    ) -> tuple[Extent, dict[str, Any]]:
        """How long a run trains, decided once; its Gin file is written with it."""
        from distill_jax.jobs.fit_training import (
            STUDENT_RATE_STEPS,
            TEACHER_RATE_STEPS,
            measured_rate,
        )

        share, steps = fit_plan.STUDENT_SHARE, STUDENT_RATE_STEPS
        if run == "teacher":
            share, steps = fit_plan.TEACHER_SHARE, TEACHER_RATE_STEPS

        def decide() -> dict[str, Any]:
            if given is not None:
                chosen = fit_plan.with_evaluations(given)
            else:
                first_steps = gin(fit_plan.with_evaluations(wanted.steps))
                rate = measured_rate(first_steps, steps, self.places.out)
                if then_gold:
                    rate = fit_plan.with_gold(rate)
                passed = time.monotonic() - self.began
                first = run == "teacher" or "teacher" not in settings
                chosen = fit_plan.extent(wanted, rate, self._left(), passed, share, first=first)
            write_text(self.places.gin(run), gin(chosen))
            return chosen._asdict()

        settings = {**settings, f"{run}_steps": given}
        after = self._do(f"{run}-plan", settings, f"{run}: its first steps, for the rate", decide)
        chosen = Extent(**after[f"{run}-plan"])
        if chosen.steps < wanted.steps and given is None:
            self.screen.say(
                f"{run}: {chosen.steps:,} steps; {wanted.steps:,} would be better: more --minutes, another "
                "--out"
            )
        return chosen, after

    def _teacher(
        self, source: TeacherSource, before: dict[str, Any]
    ) -> tuple[Path, dict[str, Any]]:
        """The directory of a fine-tuned teacher."""
        from distill_jax.jobs.fit_training import train
        from distill_jax.model_dir.directory import model_hash, open_checkpoint

        open_checkpoint(source.path)  # whole, and of tensors that fit it
        settings = {**before, "teacher_sha256": model_hash(source.path)}
        if source.kind == "tagger":
            self.screen.say(f"teacher: {source.path}, which knows the labels, as it is")
            return source.path, settings
        wanted = fit_plan.wanted_of_teacher(source.kind, len(self.data.train))

        def gin(extent: Extent) -> str:
            return teacher_gin(self.places, self.data, source, extent, self.options.seed)

        extent, after = self._planned("teacher", settings, wanted, self.options.teacher_steps, gin)

        def tune() -> dict[str, Any]:
            return _kept(train(self.places.gin("teacher")))

        after = self._do("teacher", after, f"teacher: {extent.steps:,} steps", tune)
        self._say_run("teacher", f"{source.path.name}, fine-tuned", extent, after["teacher"])
        return self.places.teacher / "model", after

    def _label(self, model: Path, before: dict[str, Any]) -> dict[str, Any]:
        """The teacher's labels for the training sentences, and as many others as there is time for."""
        from distill_jax.jobs.fit_training import label_sentences, seconds_to_label

        pool = list(self.data.unlabelled)

        def decide() -> dict[str, Any]:
            if not pool or self.options.steps is not None:  # who sets the steps sets the time
                return {"sentences": len(pool)}
            each = seconds_to_label(model, pool)
            whole = 60 * self.options.minutes
            return {"sentences": fit_plan.labelled(len(pool), each, self._left(), whole)}

        after = self._do("labels-plan", before, "labels: the rate", decide)
        self._labelled = after["labels-plan"]["sentences"]
        train = {sentence.words: sentence for sentence in self.data.train}
        chosen = [Sentence(s.words) for s in [*train.values(), *pool[: self._labelled]]]
        after = self._do(
            "labels",
            after,
            f"labels: {len(chosen):,} sentences",
            lambda: label_sentences(model, chosen, self.places),
        )
        if self._labelled < len(pool):
            self.screen.say(
                f"labels: {self._labelled:,} of {len(pool):,} unlabelled sentences, for want of time: more "
                "--minutes, another --out"
            )
        return after

    def _student(self, model: Path | None, before: dict[str, Any]) -> dict[str, Any]:
        from distill_jax.jobs.fit_training import text_task, train

        start = self.start
        if start.kind == "bert":
            start = dataclasses.replace(start, checkpoint=str(model))
        elif start.vectors is None and model is None and self._has_text():
            start = dataclasses.replace(start, text=text_task(self.data))
        vectors = None if start.vectors is None else sha256_file(start.vectors)
        settings = {
            **before,
            "student-start": [start.kind, vectors, start.layers],
            "bindings": list(self.options.bindings),
        }
        silver, few = self._labelled, len(self.data.train)
        then_gold = model is not None and fit_plan.ends_with_gold(start.kind, few, silver)
        settings["then_gold"] = then_gold
        teaching = None
        if model is not None:
            ece = before.get("teacher", {}).get("ece")
            teaching = fit_plan.teaching(few, ece)

        def gin(extent: Extent) -> str:
            return student_gin(
                self.places,
                self.data,
                start,
                extent,
                self.options.seed,
                teaching=teaching,
                then_gold=then_gold,
                given=self.options.bindings,
            )

        wanted = fit_plan.wanted_of_student(start.kind, few + silver, then_gold=then_gold)
        extent, after = self._planned(
            "student", settings, wanted, self.options.steps, gin, then_gold=then_gold
        )

        def learn() -> dict[str, Any]:
            return _kept(train(self.places.gin("student")))

        after = self._do("student", after, f"student: {extent.steps:,} steps", learn)
        what = f"{start.kind} of {few:,} gold and {silver:,} silver sentences"
        self._say_run("student", what, extent, after["student"], then_gold=then_gold)
        return after

    def _check_student(self) -> None:
        """Refuses bindings for the student that its run does not know, before a teacher is trained."""
        from distill_jax.jobs.fit_training import check_run

        start, extent = self.start, fit_plan.with_evaluations(1)
        few, silver = len(self.data.train), len(self.data.unlabelled)
        then_gold = self.source is not None and fit_plan.ends_with_gold(start.kind, few, silver)
        gin = student_gin(
            self.places,
            self.data,
            start,
            extent,
            self.options.seed,
            teaching=fit_plan.teaching(few, None),
            then_gold=then_gold,
        )
        check_run(gin, self.options.bindings)

    def _has_text(self) -> bool:
        return len(self.data.unlabelled) >= TEXT_SENTENCES

    def _calibrated(self, before: dict[str, Any]) -> dict[str, Any]:
        from distill_jax.jobs.fit_training import calibrate

        return self._do(
            "model",
            before,
            "temperature",
            lambda: {"temperature": calibrate(self.places, self.data)},
        )

    def _scores(self, model: Path | None, before: dict[str, Any]) -> dict[str, Any]:
        from distill_jax.jobs.fit_report import how_made, report

        def work() -> dict[str, Any]:
            teacher = None if self.source is None else self.source.path
            made = how_made(self.data, self._labelled, teacher, before)
            found = report(self.places, self.data, model, made)
            write_json(self.places.metrics, found.metrics)
            return {"speeds": found.speeds}

        after = self._do("scores", before, "scores and page", work)
        metrics = read_json_object(self.places.metrics)
        return {"metrics": metrics, "speeds": after["scores"]["speeds"]}

    def _export(self, before: dict[str, Any]) -> str | None:
        from distill_jax.jobs.fit_training import export

        after = self._do("export", before, "export", lambda: {"skipped": export(self.places)})
        skipped: str | None = after["export"]["skipped"]
        return skipped

    def _say_run(
        self,
        run: str,
        what: str,
        extent: Extent,
        result: dict[str, Any],
        *,
        then_gold: bool = False,
    ) -> None:
        best = "then gold alone" if then_gold else f"best at {result['best_step']:,}"
        f1 = 100 * result["dev_f1"]
        self.screen.say(f"{run}: {what}: {extent.steps:,} steps, {best}, dev F1 {f1:.1f}")

    def _say_results(self, scores: dict[str, Any], skipped: str | None) -> None:
        from distill_jax.jobs.fit_report import table

        for line in table(scores):
            self.screen.say(line)
        places = self.places
        if skipped is not None:
            self.screen.say(f"not exported: {skipped}")
        model = places.onnx if skipped is None else places.model
        kinds = f"{places.model}" + ("" if skipped is not None else f", {places.onnx} (ONNX)")
        self.screen.say(f"model: {kinds}; page: {places.page}")
        seconds = max(self._seconds, time.monotonic() - self.began)
        self.screen.say(
            f"by hand: {places.gin('student')}, {places.out / FOLDER / 'steps.sh'}; "
            f"{seconds / 60:.1f} minutes"
        )
        self.screen.command(
            "use it",
            f"distill-jax predict --model {shlex.quote(str(model))} --input FILE --output -",
        )


def _kept(outcome: Any) -> dict[str, Any]:
    """What is told of a run's outcome."""
    metrics = outcome.metrics
    return {
        "dev_f1": metrics.get("f1", math.nan),
        "ece": metrics.get("ece"),
        "best_step": outcome.best_step,
    }
