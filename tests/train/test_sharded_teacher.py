"""A teacher within the step, spread over a mesh by rules of its own, teaches as on one device."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P

from distill_jax.data.distillation import Target, word_batches
from distill_jax.data.teacher_readers import SentReader, SubwordReader
from distill_jax.distill.online import OnlineDistillation, OnlineTeacher
from distill_jax.distill.tags import DistillationWeights, TaggerDistillation
from distill_jax.distill.word_teacher import WordTeacher
from distill_jax.models import partitioning
from distill_jax.models.bert import BertTagger
from distill_jax.models.bilstm import BiLSTMTagger
from distill_jax.models.stacking import stack_layers
from distill_jax.models.t5 import T5
from distill_jax.parallel.mesh import Placement, batch_sharding
from distill_jax.sent.format import SenTFormat
from distill_jax.sent.subwords import SubwordFormat
from distill_jax.sentscore import LabelTrie
from distill_jax.train.state import abstract_frozen, abstract_state, create_state, shardings_of
from distill_jax.train.step import compile_step
from distill_jax.vocab import ByteVocabulary
from tests.tiny import (
    BERT_CONFIG,
    BILSTM_CONFIG,
    LABELS,
    T5_CONFIG,
    WORDS,
    bert_params,
    bilstm_params,
    t5_params,
)

FORMAT = SenTFormat(ByteVocabulary(), LABELS)
SENTINELS = tuple(FORMAT.sentinel_ids.tolist())
CONFIG = T5_CONFIG.replace(num_encoder_layers=2, num_decoder_layers=2)
SENTENCES = [("to", "berlin"), ("may",), ("on", "4"), ("4", "to")] * 2


@pytest.fixture(scope="module", autouse=True)
def fast_compilation() -> Iterator[None]:
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


def objective(*, scan_layers: bool) -> OnlineDistillation:
    trie = LabelTrie.compile(FORMAT.tag_token_ids, sentinel_ids=SENTINELS)
    return OnlineDistillation(
        TaggerDistillation(BiLSTMTagger(BILSTM_CONFIG), DistillationWeights()),
        OnlineTeacher(T5(CONFIG.replace(scan_layers=scan_layers)), trie, SENTINELS),
    )


def one_step(place: partitioning.Place, *, scan_layers: bool) -> tuple[Any, Any]:
    """Metrics and parameters after a step, and the teacher in its place."""
    online, optimizer = objective(scan_layers=scan_layers), optax.sgd(0.1)
    params = t5_params(CONFIG, seed=7)
    places = shardings_of(abstract_frozen(online, place))
    frozen = jax.tree.map(jax.device_put, stack_layers(params) if scan_layers else params, places)
    assert place.mesh is not None
    state = create_state(
        online, optimizer, place.mesh, 0, bilstm_params(BILSTM_CONFIG), place.rules
    )
    step = compile_step(
        online,
        optimizer,
        place,
        shardings_of(abstract_state(online, optimizer, place.mesh, place.rules)),
        frozen_shardings=places,
    )
    untagged = [Target(words, np.zeros(len(words), np.int32), known=False) for words in SENTENCES]
    options: dict[str, Any] = {
        "batch_size": len(SENTENCES),
        "seed": 0,
        "teacher": SentReader(FORMAT),
    }
    batch = word_batches(untagged, WORDS, LABELS.num_tags, **options)[0]
    state, metrics = step(state, batch, jax.random.key(0), frozen)
    return jax.device_get((metrics, state.params)), frozen


@pytest.mark.slow
def test_rules_of_its_own_change_where_it_is_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected, expected_params = one_step(Placement(first_devices=1).place(), scan_layers=False)[0]
    teacher_axis_rules = {"embed": None, "mlp": ("model", "fsdp")}
    placement = Placement(data=2, fsdp=2, model=2, teacher_axis_rules=teacher_axis_rules)
    in_force: set[Any] = set()
    spec_of = partitioning.mesh_spec

    def recorded(names: Any, shape: Any, mesh: Any, rules: Any) -> P:
        in_force.add(dict(rules)["mlp"])
        return spec_of(names, shape, mesh, rules)

    monkeypatch.setattr(partitioning, "mesh_spec", recorded)
    (found, params), frozen = one_step(placement.place(), scan_layers=True)
    assert in_force == {("model", "fsdp")}  # of activations, which only a T5 has here
    kernel = frozen["encoder"]["layers"]["mlp"]["wi_0"]["kernel"]
    assert kernel.sharding.spec == P(None, None, ("model", "fsdp"))
    assert found.keys() == expected.keys() and "kl" in found
    for name, pair in found.items():
        np.testing.assert_allclose(pair, expected[name], rtol=1e-4, err_msg=name)
    for one, two in zip(jax.tree.leaves(params), jax.tree.leaves(expected_params), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-4)


def test_a_bert_spread_over_a_mesh_labels_as_on_one_device() -> None:
    reader = SubwordReader(SubwordFormat(ByteVocabulary()), BERT_CONFIG.max_tokens)
    teacher = WordTeacher(BertTagger(BERT_CONFIG), tuple(reader.features))
    student = TaggerDistillation(BiLSTMTagger(BILSTM_CONFIG), DistillationWeights())
    place = Placement(data=2, fsdp=2, model=2).place()
    places = shardings_of(abstract_frozen(OnlineDistillation(student, teacher), place))
    untagged = [Target(words, np.zeros(len(words), np.int32), known=False) for words in SENTENCES]
    options: dict[str, Any] = {"batch_size": len(SENTENCES), "seed": 0, "teacher": reader}
    batch = word_batches(untagged, WORDS, LABELS.num_tags, **options)[0]
    assert place.mesh is not None

    def label(params: Any, batch: Any) -> Any:
        with partitioning.partitioning(place.mesh, place.rules):
            return teacher.label(params, batch), teacher.states(params, batch)

    params = jax.tree.map(jax.device_put, bert_params(), places)
    assert params["bert"]["layers_0"]["wi"]["kernel"].sharding.spec == P("fsdp", "model")
    spread = jax.jit(label, in_shardings=(places, batch_sharding(place.mesh, place.rules)))
    (found, states), expected = spread(params, batch), teacher.label(bert_params(), batch)
    np.testing.assert_array_equal(found["tags"], expected["tags"])
    np.testing.assert_allclose(found["teacher_scores"], expected["teacher_scores"], atol=1e-4)
    for one, two in zip(states, teacher.states(bert_params(), batch), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-4)


def test_without_rules_of_its_own_it_is_where_its_training_would_have_it() -> None:
    place = Placement(data=2, fsdp=2, model=2, axis_rules={"vocab": "fsdp"}).place()
    places = shardings_of(abstract_frozen(objective(scan_layers=False), place))
    assert places["encoder"]["layers_0"]["mlp"]["wi_0"]["kernel"].spec == P("fsdp", "model")
    assert places["token_embedder"]["embedding"].spec == P("fsdp", None)


def test_the_students_rules_hold_again_behind_the_teacher() -> None:
    mesh = Placement(data=2, fsdp=2, model=2).mesh()

    @jax.jit
    def place(x: jax.Array) -> list[jax.Array]:
        def twice() -> list[jax.Array]:
            with partitioning.teacher_partitioning():
                teachers = partitioning.constrain(x, "mlp")
            return [partitioning.constrain(x, "mlp"), teachers]

        with partitioning.partitioning(mesh, (("mlp", "model"),), (("mlp", "fsdp"),)):
            found = twice()
        with partitioning.partitioning(mesh, (("mlp", "model"),)):
            found += twice()
        return found + twice()[:1]

    *placed, _ = place(jnp.zeros(8))
    assert [one.sharding.spec for one in placed] == [P("model"), P("fsdp"), P("model"), P("model")]
