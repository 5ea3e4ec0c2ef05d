"""One cell of a study: a data set, a size and a seed, with its teacher, its labels and its students.

A cell lies in a folder of its own, which `result.json`, written last, makes a finished one. In an
unfinished one the teacher goes on from its checkpoint and the labels from their last shard; the
students are trained again.
"""

import dataclasses
import json
import math
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
from jax.sharding import Mesh

from distill_jax.data.prepared import PreparedDataset
from distill_jax.distill.objectives import DistillationWeights
from distill_jax.errors import UserError
from distill_jax.files import atomic_directory, atomic_write, sha256_json
from distill_jax.inference import Prediction, WordPredictor, evaluate
from distill_jax.jobs.common import prepared_data, scalars, single
from distill_jax.jobs.student import student_targets
from distill_jax.jobs.together import Student, TrainedStudent, predict_together
from distill_jax.labels.confidence import Weighting
from distill_jax.labels.store import TeacherLabel, write_store
from distill_jax.model_dir.directory import save_model
from distill_jax.models.bilstm import BiLSTMTagger
from distill_jax.parallel.mesh import make_mesh
from distill_jax.sentscore import Normaliser
from distill_jax.study.comparison import compare, write_comparison
from distill_jax.tagger import Tagger, model_hash
from distill_jax.tagging import LabelSet, Sentence

RESULT = "result.json"
SCHEMA = 1
Silver = int | str
"""A number of silver sentences, or `all`."""

Row = dict[str, Any]
"""One evaluated model, as a line of `results.csv`."""


@dataclasses.dataclass(frozen=True)
class Size:
    """How much labelled data there is: `100/50` is 100 gold and 50 dev, `full` the whole splits."""

    gold: int | None = None
    dev: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Size":
        """Raises `UserError` if it is neither."""
        if text == "full":
            return cls()
        gold, slash, dev = str(text).partition("/")
        if not (slash and gold.isascii() and gold.isdigit() and dev.isascii() and dev.isdigit()):
            raise UserError(f"SIZES: {text!r}; write '100/50' for 100 gold and 50 dev, or 'full'")
        if int(gold) < 1 or int(dev) < 1:
            raise UserError(f"SIZES: {text!r}; there must be at least 1 gold and 1 dev sentence")
        return cls(int(gold), int(dev))

    @property
    def is_full(self) -> bool:
        return self.gold is None

    def __str__(self) -> str:
        return "full" if self.is_full else f"{self.gold}/{self.dev}"


@dataclasses.dataclass(frozen=True)
class Cell:
    """A data set, a size and a seed: of the subset, the teacher and the students."""

    dataset: str
    size: Size
    seed: int

    @property
    def name(self) -> str:
        """Of its folder; of the few-shot task too, where it is one."""
        if self.size.is_full:
            return f"{self.dataset}_full_seed{self.seed}"
        return f"{self.dataset}_gold{self.size.gold}_dev{self.size.dev}_seed{self.seed}"

    @property
    def task(self) -> str:
        return self.dataset if self.size.is_full else self.name

    @property
    def splits(self) -> tuple[str, str]:
        """The names of the splits to train and to select on."""
        return ("train", "valid") if self.size.is_full else ("gold", "dev")


@dataclasses.dataclass(frozen=True)
class CellData:
    """The sentences of a cell; `silver` is in the order whose prefixes are the smaller sets."""

    labels: LabelSet
    gold: list[Sentence]
    dev: list[Sentence]
    silver: list[Sentence]
    test: list[Sentence]
    content_hash: str


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What is trained in every cell.

    Attributes:
        teacher: `train_t5` or another run with its keyword arguments.
        students: `train_taggers` or another function with its arguments.
        others: students of other kinds, each trained once for each λ on the largest silver set: `distil_t5`,
            `train_encoder_tagger` by the kind that results call it.
        silver: numbers of silver sentences, ascending, `all` last; 0 with a λ above 0 is the KL
            term on gold sentences alone.
        max_silver: what `all` is at most.
        lambdas: λ_KL of the students.
        temperature: τ.
        both_sides, square_scale: options of the KL term, see `distill.losses.kd_loss`.
        confidence_weighting: of silver sentences, with every λ; see `distill.confidence`.
        label_normaliser: of the teacher's scores; None: as the teacher was trained.
        teachers_of: cells of another study, whose teachers are taken over; None: `teacher` trains them.
        keep_students: whether the students' model directories stay in the cell's folder.
    """

    teacher: Callable[..., Any]
    students: Callable[..., list[TrainedStudent]]
    silver: tuple[Silver, ...]
    lambdas: tuple[float, ...]
    temperature: float
    both_sides: bool = True
    square_scale: bool = True
    confidence_weighting: Weighting = "none"
    max_silver: int | None = None
    others: Mapping[str, Callable[..., Any]] = dataclasses.field(default_factory=dict)
    label_normaliser: Normaliser | None = None
    teachers_of: Path | None = None
    keep_students: bool = True

    def weights(self, kl_weight: float) -> DistillationWeights:
        """The loss for one λ."""
        return DistillationWeights(
            kl_weight, self.temperature, both_sides=self.both_sides, square_scale=self.square_scale
        )

    def facts(self, kl_weight: float) -> dict[str, Any]:
        """The loss for one λ, as a line of results says it."""
        loss = dataclasses.asdict(self.weights(kl_weight))
        return loss | {"confidence_weighting": self.confidence_weighting}

    def silver_counts(self, pool: int, task: str) -> dict[Silver, int]:
        """How many sentences each silver size is, given those there are.

        Raises `UserError` if a size is more than the pool holds.
        """
        counts: dict[Silver, int] = {}
        for size in self.silver:
            if size == "all":
                counts[size] = min(pool, self.max_silver or pool)
            elif int(size) > pool:
                raise UserError(
                    f"{task}: SILVER asks for {size} sentences, but only {pool} different ones are "
                    "left after gold and dev; choose smaller numbers, or 'all'"
                )
            else:
                counts[size] = int(size)
        return counts


def load_data(cell: Cell) -> CellData:
    """Prepares and reads a cell's sentences.

    Raises `UserError` for an unknown data set, one without tags or without a needed split, and gold
    and dev sizes beyond its training sentences.
    """

    def read(task: str, split: str) -> PreparedDataset:
        return single(prepared_data(task, split), "DATASETS")

    gold = read(cell.task, cell.splits[0])
    parts = [gold, read(cell.task, cell.splits[1])]
    if not cell.size.is_full:
        parts.append(read(cell.task, "silver"))
    parts.append(read(cell.dataset, "test"))
    if gold.labels is None:
        raise UserError(f"DATASETS: {cell.dataset!r} is plain text; a study needs tagged sentences")
    for part in (parts[1], parts[-1]):
        if not len(part):
            raise UserError(f"{part.task}: the split {part.split!r} is empty; a study needs it")
    silver = [] if cell.size.is_full else _distinct(parts[2], excluded=gold)
    return CellData(
        gold.labels,
        list(gold),
        list(parts[1]),
        silver,
        list(parts[-1]),
        sha256_json([part.content_hash() for part in parts]),
    )


def run_cell(cell: Cell, folder: Path, recipe: Recipe, *, measure_speed: bool) -> list[Row]:
    """Trains and evaluates everything of a cell, or reads the result of a finished one.

    Raises `UserError` if the result was made from other data, or is damaged.
    """
    data = load_data(cell)
    result = _finished(folder / RESULT, data)
    if result is not None:
        return cast(list[Row], result["models"])
    counts = recipe.silver_counts(len(data.silver), cell.task) if data.silver else {}
    most = max(counts.values(), default=0)
    start = time.monotonic()
    model = folder / "teacher" / "model"
    if recipe.teachers_of is not None:
        outcome = _take_teacher(recipe.teachers_of / cell.name, model, data)
    else:
        outcome = recipe.teacher(
            model_dir=str(folder / "teacher"),
            mixture_or_task_name=cell.task,
            train_split=cell.splits[0],
            eval_split=cell.splits[1],
            seed=cell.seed,
            mesh=_mesh_of_one_model(),
        )
    tagger = Tagger.load(model, normaliser=recipe.label_normaliser)
    found, rate = _timed(tagger.warm_up, tagger.predict_ids, data.test)
    rows = [
        _row(cell, data, found, "t5", "teacher", tagger.parameters, outcome)
        | {"sentences_per_second": rate}
    ]
    _say(f"{cell.name}: teacher F1 {rows[0]['f1']:.4f}; labelling {most} silver sentences")
    labelling = time.monotonic()
    pool = _distinct(data.gold) + data.silver[:most]
    store = write_store(
        folder / "labels",
        pool,
        tagger.labels,
        tagger.label,
        settings={"teacher_sha256": model_hash(model), "decoder": tagger.decoder},
    )
    assert store is not None, "one process labels all"
    store.check_labels(data.labels, f"task {cell.task!r}")
    labelled = time.monotonic() - labelling
    trained = recipe.students(
        _students(cell, data, recipe, counts, store),
        data.labels,
        data.dev,
        both_sides=recipe.both_sides,
        square_scale=recipe.square_scale,
        say=lambda text: _say(f"{cell.name}: {text}"),
    )
    of_students = predict_together(trained, data.labels, data.test)
    rows += _student_rows(cell, data, trained, of_students, counts, recipe, measure_speed)
    _keep_comparison(folder, data, found, trained, of_students)
    if recipe.keep_students:
        _save(folder / "students", data.labels, trained, rows[1:])
    for kind in recipe.others:
        rows += _other_rows(cell, folder, data, recipe, counts, kind)
    _write_result(
        folder / RESULT,
        {
            "schema": SCHEMA,
            "cell": cell.name,
            "data_sha256": data.content_hash,
            "seconds": {
                "teacher": outcome.seconds,
                "labels": labelled,
                "students": trained[0].outcome.seconds,
                "cell": time.monotonic() - start,
            },
            "models": rows,
        },
    )
    # The models stay; what a run goes on from is no longer needed, and large.
    for checkpoints in folder.glob("*/checkpoints"):
        shutil.rmtree(checkpoints, ignore_errors=True)
    return rows


def find_teacher(cell: Path, data: CellData) -> Row:
    """The teacher of another study's cell, as a line of its results.

    Raises `UserError` if the cell is not finished, or was made from other sentences.
    """
    if not (cell / RESULT).exists():
        raise UserError(f"TEACHERS_OF: {cell} is not a finished cell; run that study to its end")
    result = _read_result(cell / RESULT)
    if result["data_sha256"] != data.content_hash:
        raise UserError(
            f"TEACHERS_OF: {cell} was made from other sentences than the task has now; give a study "
            "of the same data"
        )
    return next(row for row in result["models"] if row["recipe"] == "teacher")


def _take_teacher(cell: Path, model: Path, data: CellData) -> "_Taken":
    """Copies the teacher's model directory of another study's cell."""
    row = find_teacher(cell, data)
    with atomic_directory(model) as temporary:
        shutil.copytree(cell / "teacher" / "model", temporary, dirs_exist_ok=True)
    return _Taken({"f1": row["dev_f1"]}, row["best_step"], row["seconds_to_train"])


class _Taken(NamedTuple):
    """Of the outcome of a teacher's training what results say."""

    metrics: dict[str, float]
    best_step: int
    seconds: float


def _mesh_of_one_model() -> Mesh | None:
    """One device on a CPU, which has a device a core for students; None, all of them, elsewhere."""
    devices = jax.devices()
    return make_mesh(devices=devices[:1]) if devices[0].platform == "cpu" else None


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _distinct(sentences: Iterable[Sentence], excluded: Iterable[Sentence] = ()) -> list[Sentence]:
    """Each sentence with words once, in order: a store is looked up by words."""
    seen = {sentence.words for sentence in excluded} | {()}
    found = []
    for sentence in sentences:
        if sentence.words not in seen:
            seen.add(sentence.words)
            found.append(sentence)
    return found


def _students(
    cell: Cell,
    data: CellData,
    recipe: Recipe,
    counts: dict[Silver, int],
    store: Iterable[TeacherLabel],
) -> list[Student]:
    gold_only = student_targets(data.gold, data.labels, None)
    students = [Student("bilstm-gold", cell.seed, gold_only)]
    labels = list(store)
    of_gold = len(labels) - max(counts.values(), default=0)
    for size, kl_weight in _crossed(recipe, counts):
        chosen = labels[: of_gold + counts.get(size, 0)]
        targets = student_targets(data.gold, data.labels, chosen, recipe.confidence_weighting)
        name = f"bilstm-silver{size}-kl{kl_weight:g}"
        students.append(Student(name, cell.seed, targets, kl_weight, recipe.temperature))
    return students


def _crossed(recipe: Recipe, counts: dict[Silver, int]) -> list[tuple[Silver, float]]:
    """Silver sizes with λ; no silver with λ = 0 is gold only, and is not trained twice."""
    sizes: Sequence[Silver] = list(counts) if counts else [s for s in recipe.silver if s == 0]
    return [(size, kl) for size in sizes for kl in recipe.lambdas if size != 0 or kl]


def _student_rows(
    cell: Cell,
    data: CellData,
    trained: Sequence[TrainedStudent],
    found: Sequence[Sequence[Prediction]],
    counts: dict[Silver, int],
    recipe: Recipe,
    measure_speed: bool,
) -> list[Row]:
    rows = []
    for one, predictions in zip(trained, found, strict=True):
        kind = "gold" if one.student.name == "bilstm-gold" else "distilled"
        row = _row(cell, data, predictions, "bilstm", kind, one.parameters, one.outcome)
        if kind == "distilled":
            size = one.student.name.split("-")[1].removeprefix("silver")
            row["silver"] = size
            row["silver_sentences"] = counts.get("all" if size == "all" else int(size), 0)
            row |= recipe.facts(one.student.kl_weight)
        rows.append(row | {"name": one.student.name})
    if measure_speed:
        last = trained[-1]
        predictor = WordPredictor(BiLSTMTagger(last.config), last.vocabulary, data.labels)
        params = last.outcome.params
        _, rate = _timed(
            lambda words: predictor.warm_up(params, words),
            lambda words: predictor.predict(params, words),
            data.test,
        )
        for row in rows:  # one architecture; only the number of words known differs
            row["sentences_per_second"] = rate
    return rows


def _keep_comparison(
    folder: Path,
    data: CellData,
    of_teacher: Sequence[Prediction],
    trained: Sequence[TrainedStudent],
    of_students: Sequence[Sequence[Prediction]],
) -> None:
    """What the teacher and the distilled student that is best on dev make of the test sentences."""
    taught = [
        (one, found)
        for one, found in zip(trained, of_students, strict=True)
        if one.student.name != "bilstm-gold"
    ]
    if taught:
        best, found = max(taught, key=lambda pair: pair[0].outcome.metrics.get("f1", 0.0))
        name = best.student.name
        write_comparison(folder, compare(data.labels, data.test, of_teacher, name, found))


def _other_rows(
    cell: Cell,
    folder: Path,
    data: CellData,
    recipe: Recipe,
    counts: dict[Silver, int],
    kind: str,
) -> list[Row]:
    largest, count = max(counts.items(), key=lambda item: item[1], default=(0, 0))
    rows = []
    for kl_weight in recipe.lambdas:
        if not count and not kl_weight:
            continue
        name = f"{kind}-silver{largest}-kl{kl_weight:g}"
        outcome = recipe.others[kind](
            model_dir=str(folder / name),
            mixture_or_task_name=cell.task,
            train_split=cell.splits[0],
            eval_split=cell.splits[1],
            teacher_labels=str(folder / "labels"),
            confidence_weighting=recipe.confidence_weighting,
            distillation=recipe.weights(kl_weight),
            seed=cell.seed,
            mesh=_mesh_of_one_model(),
        )
        tagger = Tagger.load(folder / name / "model")
        found, rate = _timed(tagger.warm_up, tagger.predict_ids, data.test)
        row = _row(cell, data, found, f"{kind}-student", "distilled", tagger.parameters, outcome)
        facts = {"name": name, "silver": str(largest), "silver_sentences": count}
        rows.append(row | facts | recipe.facts(kl_weight) | {"sentences_per_second": rate})
    return rows


def _timed(
    warm_up: Callable[[list[tuple[str, ...]]], Any],
    predict: Callable[[list[tuple[str, ...]]], list[Prediction]],
    sentences: Sequence[Sentence],
) -> tuple[list[Prediction], float]:
    """Predictions, and sentences a second without compilation."""
    words = [sentence.words for sentence in sentences]
    warm_up(words)
    start = time.monotonic()
    found = predict(words)
    return found, len(words) / (time.monotonic() - start)


def _row(
    cell: Cell,
    data: CellData,
    predictions: Sequence[Prediction],
    model: str,
    recipe: str,
    parameters: int,
    outcome: Any,
) -> Row:
    figures = scalars(evaluate(data.labels, data.test, predictions))
    return {
        "dataset": cell.dataset,
        "size": str(cell.size),
        "seed": cell.seed,
        "name": model if recipe != "teacher" else "teacher",
        "model": model,
        "recipe": recipe,
        "gold_sentences": len(data.gold),
        "dev_sentences": len(data.dev),
        "silver": "0",
        "silver_sentences": 0,
        "kl_weight": None,
        "temperature": None,
        "both_sides": None,
        "square_scale": None,
        "confidence_weighting": None,
        "parameters": parameters,
        **{name: None if math.isnan(value) else value for name, value in figures.items()},
        "dev_f1": outcome.metrics.get("f1"),
        "best_step": outcome.best_step,
        "seconds_to_train": outcome.seconds,
        "sentences_per_second": None,
    }


def _save(
    folder: Path, labels: LabelSet, trained: Sequence[TrainedStudent], rows: Sequence[Row]
) -> None:
    for one, row in zip(trained, rows, strict=True):
        student = one.student
        save_model(
            folder / student.name,
            config=one.config,
            params=one.outcome.params,
            vocabulary=one.vocabulary,
            labels=labels,
            role="student",
            metrics=one.outcome.metrics,
            training={
                "recipe": row["recipe"],
                "gold_sentences": row["gold_sentences"],
                "silver_sentences": row["silver_sentences"],
                "kl_weight": student.kl_weight,
                "temperature": student.temperature,
                "seed": student.seed,
                "steps": one.outcome.best_step,
            },
        )


def _finished(path: Path, data: CellData) -> dict[str, Any] | None:
    if not path.exists():
        return None
    result = _read_result(path)
    if result["data_sha256"] != data.content_hash:
        raise UserError(
            f"{path}: made from other sentences than the task has now; delete {path.parent}, and the "
            "cell is done again"
        )
    return result


def finished_rows(cells: Path, first: Sequence[Cell]) -> list[Row]:
    """The models of all finished cells below a folder: those of `first` in their order, then others.

    Raises `UserError` if a result is damaged.
    """
    names = [cell.name for cell in first]
    others = sorted(path.parent.name for path in cells.glob(f"*/{RESULT}"))
    paths = [cells / name / RESULT for name in dict.fromkeys([*names, *others])]
    return [row for path in paths if path.exists() for row in _read_result(path)["models"]]


def _read_result(path: Path) -> dict[str, Any]:
    try:
        result = json.loads(path.read_text("utf-8"))
        schema, _, _ = result["schema"], result["data_sha256"], result["models"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{path}: damaged; delete it, and the cell is done again") from None
    if schema != SCHEMA:
        raise UserError(f"{path}: schema {schema!r} instead of {SCHEMA}; delete {path.parent}")
    return cast(dict[str, Any], result)


def _write_result(path: Path, result: dict[str, Any]) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n", "utf-8")
