"""Dataclasses that describe a run: their fields' meaning, their JSON, and how two of them differ."""

import dataclasses
import inspect
import json
from collections.abc import Mapping
from typing import Any

import pytest

from distill_jax.configuration import Difference, as_lines, differences, setting, to_json


@dataclasses.dataclass(frozen=True)
class Small:
    """A part of another."""

    rate: float = setting(macro="RATE")
    steps: int = setting(10, macro="STEPS", free=True)


@dataclasses.dataclass(frozen=True)
class Large:
    """The same fields: only its name tells it from `Small`."""

    rate: float = 0.5
    steps: int = setting(10, free=True)


@dataclasses.dataclass(frozen=True)
class Whole:
    """Of all kinds of fields."""

    name: str
    part: Small | Large = setting(Small(0.5), part=(Small, Large), scope="teacher")
    place: Small = setting(Small(0.25), free=True)
    sizes: tuple[int, ...] = setting((1, 2))
    parts: tuple[Small, ...] = ()
    weights: Mapping[str, float] | None = None
    shuffle: bool = True


def between(before: Any, now: Any) -> list[Difference]:
    """Of two configurations, the first as a file has kept it."""
    kept, here = json.loads(json.dumps(to_json(before, identity=True))), to_json(now, identity=True)
    found = list(differences(kept, here))
    # The other way round they are the same.
    back = {Difference(name, before, now) for name, now, before in differences(here, kept)}
    assert set(found) == back
    return found


# --- fields -----------------------------------------------------------------------------------


def test_a_setting_is_a_field_that_knows_what_it_is() -> None:
    rate, steps = dataclasses.fields(Small)
    assert rate.default is dataclasses.MISSING and steps.default == 10
    nothing = {"macro": None, "free": False, "extent": False, "scope": "", "part": ()}
    assert rate.metadata == {**nothing, "macro": "RATE"}
    assert steps.metadata == {**nothing, "macro": "STEPS", "free": True}
    part = next(field for field in dataclasses.fields(Whole) if field.name == "part")
    parts = (Small, Large)
    assert part.metadata == {**nothing, "scope": "teacher", "part": parts}


def test_a_setting_without_default_must_be_given() -> None:
    assert inspect.signature(Small).parameters["rate"].default is inspect.Parameter.empty
    with pytest.raises(TypeError, match="rate"):
        Small()  # type: ignore[call-arg]


def test_a_default_may_be_a_dataclass_as_it_is_frozen() -> None:
    assert Whole("a").part is Whole("b").part
    with pytest.raises(dataclasses.FrozenInstanceError):
        Whole("a").part.rate = 1.0  # type: ignore[misc]


# --- JSON -------------------------------------------------------------------------------------


def test_json_has_every_field_and_every_class() -> None:
    value = Whole("a", Large(), parts=(Small(1.0, 2),), weights={"snips": 0.5})
    assert to_json(value) == {
        "is": "Whole",
        "name": "a",
        "part": {"is": "Large", "rate": 0.5, "steps": 10},
        "place": {"is": "Small", "rate": 0.25, "steps": 10},
        "sizes": [1, 2],
        "parts": [{"is": "Small", "rate": 1.0, "steps": 2}],
        "weights": {"snips": 0.5},
        "shuffle": True,
    }
    assert list(to_json(value)) == ["is", *(field.name for field in dataclasses.fields(Whole))]
    assert json.loads(json.dumps(to_json(value))) == to_json(value)
    assert to_json({"run": Small(0.5), 1: (None, "x")}) == {
        "run": {"is": "Small", "rate": 0.5, "steps": 10},
        "1": [None, "x"],
    }


def test_an_identity_has_nothing_that_is_free_wherever_it_is() -> None:
    value = Whole("a", Large(), parts=(Small(1.0, 2),))
    assert to_json(value, identity=True) == {
        "is": "Whole",
        "name": "a",
        "part": {"is": "Large", "rate": 0.5},
        "sizes": [1, 2],
        "parts": [{"is": "Small", "rate": 1.0}],
        "weights": None,
        "shuffle": True,
    }
    assert to_json({"run": Small(0.5)}, identity=True) == {"run": {"is": "Small", "rate": 0.5}}


def test_json_of_json_is_the_same() -> None:
    once = to_json(Whole("a"), identity=True)
    assert to_json(once, identity=True) == to_json(once) == once


def test_lines_say_where_every_value_is() -> None:
    assert list(as_lines(to_json({"run": Whole("a", sizes=())}))) == [
        "run = 'Whole'",
        "run.name = 'a'",
        "run.part = 'Small'",
        "run.part.rate = 0.5",
        "run.part.steps = 10",
        "run.place = 'Small'",
        "run.place.rate = 0.25",
        "run.place.steps = 10",
        "run.sizes = []",
        "run.parts = []",
        "run.weights = None",
        "run.shuffle = True",
    ]


# --- differences ------------------------------------------------------------------------------


def test_the_same_and_what_is_free_are_no_difference() -> None:
    one = Whole("a", Small(0.5, 10), Small(0.25), parts=(Small(1.0, 2),))
    assert between(one, one) == []
    assert between(one, Whole("a", Small(0.5, 99), Small(9.0), parts=(Small(1.0, 3),))) == []
    assert between(one, dataclasses.replace(one, parts=[Small(1.0, 2)], sizes=[1, 2])) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name": "b"}, Difference("name", "'a'", "'b'")),
        ({"part": Small(0.75)}, Difference("part.rate", "0.5", "0.75")),
        ({"part": Large()}, Difference("part", "'Small'", "'Large'")),
        ({"part": None}, Difference("part", "{'is': 'Small', 'rate': 0.5}", "None")),
        ({"sizes": (1, 2, 3)}, Difference("sizes", "[1, 2]", "[1, 2, 3]")),
        ({"sizes": (2, 1)}, Difference("sizes", "[1, 2]", "[2, 1]")),
        ({"weights": {"a": 1.0}}, Difference("weights", "None", "{'a': 1.0}")),
        ({"shuffle": False}, Difference("shuffle", "True", "False")),
    ],
)
def test_a_difference_is_named_by_its_place(changes: Any, expected: Difference) -> None:
    assert between(Whole("a"), dataclasses.replace(Whole("a"), **changes)) == [expected]


def test_differences_come_in_the_order_of_the_fields() -> None:
    found = between(Whole("a"), Whole("b", Large(0.75), shuffle=False))
    assert [one.name for one in found] == ["name", "part", "part.rate", "shuffle"]


def test_what_only_one_has_is_a_difference() -> None:
    before, now = {"is": "Whole", "part": {"old": 1, "same": 2}}, to_json({"is": "Whole"})
    now["part"] = {"same": 2, "new": None}
    assert list(differences(before, now)) == [
        Difference("part.old", "1", "absent"),
        Difference("part.new", "absent", "None"),
    ]
    assert list(differences({}, {"is": "Whole"}, "run")) == [Difference("run", "absent", "'Whole'")]
    assert list(differences({}, {})) == []
    # A renamed field is two.
    weights = between(Whole("a", weights={"snips": 1.0}), Whole("a", weights={"atis": 1.0}))
    assert [str(one) for one in weights] == [
        "weights.snips = 1.0 and would go on with absent",
        "weights.atis = absent and would go on with 1.0",
    ]


def test_a_difference_is_told_in_one_short_line() -> None:
    (one,) = differences({"names": ["x" * 500]}, {"names": ["x" * 499 + "\n"]})
    assert len(str(one)) < 200 and "\n" not in str(one)
    assert str(Difference("training.seed", "0", "1")) == (
        "training.seed = 0 and would go on with 1"
    )
