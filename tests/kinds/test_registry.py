"""The registry of kinds: names are one kind's alone, and what no kind knows is said in one line."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from distill_jax.errors import UserError
from distill_jax.kinds import registry
from distill_jax.kinds.registry import all_kinds, kind_of, kind_of_type, register
from distill_jax.kinds.word_tagger import WordTaggerKind
from distill_jax.models.json_config import JsonConfig
from distill_jax.models.t5_config import T5Config
from tests.tiny import BERT_CONFIG, BILSTM_CONFIG, ENCODER_CONFIG, T5_CONFIG

CONFIGS = {
    "t5": T5_CONFIG,
    "bilstm": BILSTM_CONFIG,
    "encoder": ENCODER_CONFIG,
    "bert": BERT_CONFIG,
}


@dataclasses.dataclass(frozen=True)
class OtherConfig(JsonConfig):
    model_type = "other_tagger"
    num_tags: int = 0


def kind_named(kind_name: str, *types: str) -> Any:
    class Other(WordTaggerKind):
        name = kind_name
        model_types = types
        config_type = OtherConfig
        embedding_path = ("words", "embedding")

        def module(self, config: Any) -> Any:
            raise NotImplementedError

    return Other()


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """What a test registers does not stay."""
    all_kinds()
    before = dict(registry._KINDS)
    yield
    registry._KINDS.clear()
    registry._KINDS.update(before)


def test_every_kind_has_a_name_and_types_of_its_own() -> None:
    kinds = all_kinds()
    assert {kind.name for kind in kinds} >= set(CONFIGS)
    types = [name for kind in kinds for name in kind.model_types]
    assert len(types) == len(set(types))
    assert not {name for kind in kinds for name in kind.similar_types} & set(types)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_kind_is_found_by_its_configuration_and_its_type(name: str) -> None:
    kind = kind_of(CONFIGS[name])
    assert kind.name == name
    for model_type in kind.model_types:
        assert kind_of_type(model_type, "config.json") is kind


def test_a_kind_is_registered_and_found() -> None:
    register(kind := kind_named("other", "other_tagger"))
    assert kind in all_kinds()
    assert kind_of(OtherConfig()) is kind
    assert kind_of_type("other_tagger", "config.json") is kind
    register(again := type(kind)())  # its module was imported again
    assert kind_of(OtherConfig()) is again and kind not in all_kinds()


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        (kind_named("bilstm", "other_tagger"), "bilstm"),
        (kind_named("other", "other_tagger", "umt5"), "t5"),
        (kind_named("other", "encoder_tagger"), "encoder"),
    ],
)
def test_names_in_common_are_refused(kind: Any, other: str) -> None:
    before = all_kinds()
    with pytest.raises(
        ValueError, match=f"the kinds {kind.name} and {other} have a name in common"
    ):
        register(kind)
    assert all_kinds() == before


def test_a_configuration_of_no_kind() -> None:
    with pytest.raises(TypeError, match="no kind of tagger has a OtherConfig"):
        kind_of(OtherConfig())
    with pytest.raises(TypeError, match="no kind of tagger has a type"):
        kind_of(T5Config)  # the class itself


@pytest.mark.parametrize("model_type", ["gpt2", "", None, 5, ["t5"], {"t5": 1}])
def test_an_unknown_type_is_said_with_file_and_remedy(model_type: Any) -> None:
    where = str(Path("runs") / "config.json")
    with pytest.raises(UserError) as error:
        kind_of_type(model_type, where)
    message = str(error.value)
    assert message.startswith(
        f"{where}: model_type is {model_type!r}, not one of bert, bilstm_tagger, "
    )
    known = {name for kind in all_kinds() for name in kind.model_types}
    assert known == set(message.partition("not one of ")[2].partition(";")[0].split(", "))
    assert message.endswith("registers its kind (--kind_modules)") and "\n" not in message


def test_a_type_like_a_kinds_own_has_its_own_remedy() -> None:
    with pytest.raises(UserError) as error:
        kind_of_type("longt5", "config.json")
    assert str(error.value) == (
        "config.json: model_type is 'longt5', whose local attention is not supported; use a T5, mT5, "
        "umT5, ByT5 or Flan-T5 checkpoint"
    )
