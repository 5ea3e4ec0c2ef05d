"""The numbers of Farina et al. 2023 (arXiv 2302.05454) that a study is set beside, F1 in percent."""

from collections.abc import Mapping
from typing import TypeVar

_T = TypeVar("_T")

DATASETS: Mapping[str, str] = {
    "atis": "ATIS",
    "snips": "SNIPS",
    "mit_movie_trivia": "MovieTrivia",
    "mit_movie": "Movie",
    "mit_restaurant": "Restaurant",
    "mtop_en": "mTOP en",
    "mtod_en": "mTOD en",
}
"""Task → the paper's name, in the order of its tables."""

_FEW_SHOT: Mapping[tuple[str, str], tuple[float, ...]] = {
    ("100/50", "gold"): (79.93, 51.63, 48.26, 60.82, 47.26, 43.12, 68.68),
    ("100/50", "teacher"): (85.01, 54.33, 55.74, 67.09, 56.87, 51.94, 79.43),
    ("100/50", "distilled"): (86.75, 57.18, 57.85, 70.51, 61.13, 54.77, 82.26),
    ("100/50", "500 λ=0"): (83.75, 55.66, 53.97, 67.73, 56.29, 49.57, 77.86),
    ("100/50", "500 λ=1"): (85.10, 57.00, 56.00, 70.12, 57.95, 50.33, 79.77),
    ("300/150", "gold"): (86.43, 69.19, 57.64, 73.54, 61.62, 57.22, 83.46),
    ("300/150", "teacher"): (89.33, 76.34, 63.60, 77.39, 68.52, 67.73, 88.68),
    ("300/150", "distilled"): (90.25, 79.84, 65.34, 79.20, 68.62, 69.62, 89.82),
}
_FULL: Mapping[str, tuple[tuple[float, float], ...]] = {
    "gold": (
        (89.06, 95.56),
        (87.24, 95.02),
        (32.41, 69.81),
        (69.79, 86.72),
        (58.32, 77.39),
        (81.10, 88.94),
        (91.70, 95.62),
    ),
    "teacher": (
        (89.81, 95.99),
        (91.00, 96.07),
        (39.58, 71.99),
        (74.29, 88.35),
        (63.77, 80.91),
        (86.66, 92.29),
        (92.94, 96.24),
    ),
}


def paper_f1(dataset: str, size: str, model: str) -> float | None:
    """What the paper reports on the test split, None where it reports nothing.

    Args:
        dataset: the task's name.
        size: `100/50`, `300/150` or `full`.
        model: `gold` (BiLSTM), `teacher` (T5-base, SenTScore), `distilled` (BiLSTM, all silver), or
            of the ablation `500 λ=0` and `500 λ=1`.
    """
    if size == "full":
        pair = _at(_FULL.get(model), dataset)
        return None if pair is None else pair[1]
    return _at(_FEW_SHOT.get((size, model)), dataset)


def paper_perfect(dataset: str, model: str) -> float | None:
    """The paper's share of sentences fully right on full data, in percent; see `paper_f1`."""
    pair = _at(_FULL.get(model), dataset)
    return None if pair is None else pair[0]


def display_name(dataset: str) -> str:
    """The paper's name of a task, else the task's own."""
    return DATASETS.get(dataset, dataset)


def _at(values: tuple[_T, ...] | None, dataset: str) -> _T | None:
    if values is None or dataset not in DATASETS:
        return None
    return values[list(DATASETS).index(dataset)]
