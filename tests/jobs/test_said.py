"""What runs tell the person who watches."""

import pytest

from distill_jax.jobs.evaluation import say_left_behind
from distill_jax.jobs.student import Material
from distill_jax.jobs.teacher import TextMaterial
from distill_jax.kinds.t5_teacher import TextPart
from distill_jax.tagging import Sentence
from distill_jax.train.selection import Outcome
from tests.tiny import LABELS

ONE = Sentence(("a",), ("O",))


@pytest.mark.parametrize(
    ("metrics", "wanted"),
    [
        ({"selection": 0.5, "f1": 0.5}, ", dev F1 0.5000"),
        ({"selection": -2.0, "loss": 2.0}, ", dev loss 2.0000"),
        ({}, ""),
    ],
)
def test_a_run_names_what_it_has_left(
    metrics: dict[str, float], wanted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    say_left_behind("runs/x", Outcome(None, metrics, best_step=3, steps=9, seconds=1.0))
    assert capsys.readouterr().err == f"runs/x/model: the model of step 3{wanted}\n"


def test_a_run_counts_its_sentences() -> None:
    student = Material(LABELS, [ONE], [ONE] * 2, [None] * 1201)  # type: ignore[list-item]
    assert student.said == "sentences: 1 gold, 1,200 silver, 2 dev"
    text = TextMaterial([TextPart([ONE] * 3, None), TextPart([ONE], None)], [], None)
    assert text.said == "sentences: 4, and 0 dev"
