"""Which lines of a study's results belong together, and their mean."""

import statistics
from collections.abc import Callable, Iterable, Sequence

from distill_jax.study.grid import ALL
from distill_jax.study.results import BILSTM, Row

Match = Callable[[Row], bool]
"""Whether a line belongs to a group."""

_TITLES = {
    "t5-student": "T5 student",
    "encoder-student": "encoder student",
    "bert-student": "BERT student",
}
_TEACHERS = {"t5": "T5 teacher", "bert": "BERT teacher", "bilstm": "BiLSTM teacher"}


def is_teacher(row: Row) -> bool:
    """A cell's teacher."""
    return row.recipe == "teacher"


def teacher_title(rows: Iterable[Row]) -> str:
    """What the teachers are called, by their kind where all are of one."""
    models = {row.model for row in rows if is_teacher(row)}
    model = models.pop() if len(models) == 1 else ""
    return _TEACHERS.get(model, f"{model} teacher".strip())


def is_gold_only(row: Row) -> bool:
    """A BiLSTM that had no teacher."""
    return row.model == BILSTM and row.recipe == "gold"


def is_other_student(row: Row) -> bool:
    """A distilled student that was trained alone, of whatever kind."""
    return row.recipe == "distilled" and row.model != BILSTM


def is_distilled(silver: str, kl_weight: float) -> Match:
    """A BiLSTM of so much silver; none at all with λ = 0 is gold only."""
    if silver == "0" and not kl_weight:
        return is_gold_only
    return lambda row: (
        row.model == BILSTM
        and row.recipe == "distilled"
        and row.silver == silver
        and row.kl_weight == kl_weight
    )


def is_named(name: str) -> Match:
    """A model of this name."""
    return lambda row: row.name == name


def datasets(rows: Iterable[Row]) -> list[str]:
    """The data sets there are, in the order of the lines."""
    return list(dict.fromkeys(row.dataset for row in rows))


def sizes(rows: Iterable[Row]) -> list[str]:
    """The sizes there are, in the order of the lines."""
    return list(dict.fromkeys(row.size for row in rows))


def silver_sizes(rows: Iterable[Row]) -> list[str]:
    """The silver sizes there are of BiLSTMs, ascending, `all` last."""
    silver = {row.silver for row in rows if row.model == BILSTM}
    return sorted(silver, key=lambda size: (size == ALL, 0 if size == ALL else int(size)))


def lambdas(rows: Iterable[Row]) -> list[float]:
    """The λ there are, ascending."""
    return sorted({row.kl_weight for row in rows if row.kl_weight is not None})


def other_students(rows: Iterable[Row]) -> dict[str, str]:
    """A row's `model` → its title, of students of other kinds: those of the package, then others."""
    others = {row.model: row.model.replace("-", " ") for row in rows if is_other_student(row)}
    return {**_TITLES, **{model: t for model, t in others.items() if model not in _TITLES}}


def rates(rows: Iterable[Row]) -> list[float]:
    """Sentences a second of the models that were timed."""
    return [row.sentences_per_second for row in rows if row.sentences_per_second]


def mean_std(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation; None for one value."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None
