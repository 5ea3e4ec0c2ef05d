"""What lies where on the mesh, and meshes and batches that do not fit."""

import dataclasses
import json
from typing import Any

import jax
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from distill_jax.configuration import to_json
from distill_jax.distill.language_model import LanguageModel
from distill_jax.distill.tags import DistillationWeights, TaggerDistillation
from distill_jax.errors import UserError
from distill_jax.models.bilstm import BiLSTMTagger
from distill_jax.models.partitioning import Rules, constrain, partitioning
from distill_jax.models.t5 import T5
from distill_jax.parallel.mesh import (
    LOGICAL_AXIS_RULES,
    Placement,
    _arrange,
    batch_sharding,
    check_batch_size,
    logical_axis_rules,
    make_mesh,
    place_on,
)
from distill_jax.train.objective import Objective
from distill_jax.train.optimizers import adafactor, adamw
from distill_jax.train.state import abstract_state, create_state
from tests.tiny import BILSTM_CONFIG, T5_CONFIG
from tests.train.toy import Regression, assert_same


def specs(
    objective: Objective,
    shape: tuple[int, int, int],
    optimizer: optax.GradientTransformation,
    rules: Rules | None = None,
) -> dict[str, tuple[tuple[int, ...], P]]:
    """Path → (shape, partitioning) of every array of the state."""
    state = abstract_state(objective, optimizer, make_mesh(*shape), rules)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): (leaf.shape, leaf.sharding.spec)
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    }


def t5(**changes: Any) -> LanguageModel:
    return LanguageModel(T5(T5_CONFIG.replace(d_model=16, d_ff=24, **changes)))


def test_make_mesh_gives_data_what_the_other_axes_leave() -> None:
    def shape(**options: Any) -> tuple[int, ...]:
        mesh = make_mesh(**options)
        assert mesh.axis_names == ("slice", "data", "fsdp", "model")
        return mesh.devices.shape

    assert shape() == (1, 8, 1, 1)
    assert shape(fsdp=2, model=2) == (1, 2, 2, 2)
    assert shape(num_slices=2, model=2) == (2, 2, 1, 2)
    assert shape(devices=jax.devices()[:1]) == (1, 1, 1, 1)


@pytest.mark.parametrize(
    "axes",
    [
        {"data": 3},
        {"fsdp": 3},
        {"model": 16},
        {"data": 8, "model": 2},
        {"fsdp": 0},
        {"fsdp": -1},
        {"data": 0},
        {"data": -2, "fsdp": -2, "model": 2},
        {"num_slices": 3},
        {"num_slices": 0},
        {"data": 8, "num_slices": 2},
    ],
)
def test_a_mesh_that_does_not_fit_the_devices_is_refused(axes: dict[str, int]) -> None:
    with pytest.raises(UserError, match=r"^make_mesh: data .*; "):
        make_mesh(**axes)


@pytest.mark.parametrize("batch_size", [0, -4, 2, 6])
def test_a_batch_that_does_not_divide_over_the_mesh_is_refused(batch_size: int) -> None:
    mesh = make_mesh(data=2, fsdp=2, model=2)
    check_batch_size(4, mesh)
    with pytest.raises(UserError, match=rf"BATCH_SIZE {batch_size} .* use a multiple of 4"):
        check_batch_size(batch_size, mesh)


def test_t5_lies_where_the_rules_say() -> None:
    found = specs(t5(), (2, 2, 2), adamw(1e-3))
    layer = "decoder/layers_0"
    expected = {
        "token_embedder/embedding": P("model", "fsdp"),
        f"{layer}/self_attention/query/kernel": P("fsdp", "model"),
        f"{layer}/encoder_decoder_attention/out/kernel": P("model", "fsdp"),
        f"{layer}/mlp/wi_0/kernel": P("fsdp", "model"),
        f"{layer}/mlp/wo/kernel": P("model", "fsdp"),
        f"{layer}/pre_mlp_layer_norm/scale": P("fsdp"),
        "decoder/relpos_bias/rel_embedding": P("model", None),
        "decoder/logits_dense/kernel": P("fsdp", "model"),
    }
    for name, spec in expected.items():
        assert found[f"params/{name}"][1] == spec, name
        # The moments of Adam are as large as the parameters, and lie where they lie.
        for moment in ("mu", "nu"):
            assert found[f"opt_state/1/0/{moment}/{name}"] == found[f"params/{name}"]
    assert found["step"] == ((), P())


def test_a_tagger_lies_where_the_rules_say() -> None:
    objective = TaggerDistillation(
        BiLSTMTagger(BILSTM_CONFIG.replace(num_words=12)), DistillationWeights()
    )
    found = specs(objective, (2, 2, 2), adamw(1e-3))
    assert found["params/word_embedding/embedding"] == ((12, 6), P("model", "fsdp"))
    # 6 + 2 * 4 input features; axes without a rule stay whole.
    assert found["params/word_lstm_0/input_kernel"] == ((2, 14, 32), P(None, "fsdp", None))
    assert found["params/word_lstm_0/recurrent_kernel"] == ((2, 8, 32), P(None, None, None))


def test_a_size_that_does_not_divide_stays_whole() -> None:
    found = specs(t5(vocab_size=42, num_heads=2), (1, 2, 4), adamw(1e-3))
    assert found["params/token_embedder/embedding"] == ((42, 16), P(None, "fsdp"))
    assert found["params/decoder/relpos_bias/rel_embedding"] == ((2, 32), P(None, None))
    # 2 heads of 4: the joined axis of 8 divides all the same.
    query = found["params/decoder/layers_0/self_attention/query/kernel"]
    assert query == ((16, 8), P("fsdp", "model"))


def test_factored_statistics_stay_whole_and_unfactored_ones_follow_their_parameter() -> None:
    found = specs(t5(), (2, 2, 2), adafactor(1e-3, min_dim_size_to_factor=24))
    factored = "decoder/layers_0/mlp/wi_0/kernel"  # 16 x 24: below the minimum
    assert found[f"opt_state/0/0/v/{factored}"] == ((16, 24), P("fsdp", "model"))
    found = specs(t5(), (2, 2, 2), adafactor(1e-3, min_dim_size_to_factor=8))
    assert found[f"opt_state/0/0/v_row/{factored}"] == ((16,), P())
    assert found[f"opt_state/0/0/v_col/{factored}"] == ((24,), P())
    assert found[f"opt_state/0/0/v/{factored}"] == ((1,), P())


def test_a_new_state_is_sharded_from_birth_and_the_same_on_every_mesh() -> None:
    states = {}
    for shape in ((1, 1, 1), (8, 1, 1), (2, 2, 2), (1, 4, 2)):
        mesh = make_mesh(*shape, devices=jax.devices()[: int(np.prod(shape))])
        states[shape] = create_state(Regression(), adamw(1e-3), mesh, seed=3)
        assert_same(states[shape], states[1, 1, 1])
    embedding = states[1, 4, 2].params["embedding"]
    assert {shard.data.shape for shard in embedding.addressable_shards} == {(8, 2)}
    assert {s.data.shape for s in states[1, 4, 2].params["odd"].addressable_shards} == {(3, 5)}


@pytest.mark.parametrize("convert", [np.array, jax.numpy.array])
def test_given_parameters_are_placed_as_float32_copies(convert: Any) -> None:
    mesh = make_mesh(data=2, fsdp=2, model=2)
    random = create_state(Regression(), adamw(1e-3), mesh, seed=3)
    given = jax.tree.map(convert, jax.device_get(random.params))
    state = create_state(Regression(), adamw(1e-3), mesh, 0, given)
    assert_same(state, random)
    assert state.params["embedding"].sharding == random.params["embedding"].sharding
    # The step donates its state; what the caller holds must survive that.
    jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf + 1, tree), donate_argnums=0)(state.params)
    assert_same(given, random.params)
    half = jax.tree.map(lambda leaf: leaf.astype(jax.numpy.bfloat16), given)
    state = create_state(Regression(), adamw(1e-3), mesh, 0, half)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {np.dtype("float32")}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 8, "accumulate": 2}, "8 data-parallel devices .* in 2 .* multiple of 16"),
        ({"batch_size": 4}, "4 does not divide .* use a multiple of 8"),
    ],
)
def test_slices_and_micro_batches_split_the_batch_too(
    options: dict[str, int], message: str
) -> None:
    mesh = make_mesh(num_slices=2, data=2, fsdp=2)
    check_batch_size(16, mesh, accumulate=2)
    with pytest.raises(UserError, match=message):
        check_batch_size(mesh=mesh, **options)


def test_the_rules_of_a_placement_decide_where_state_and_batch_lie() -> None:
    placement = Placement(
        data=2,
        fsdp=2,
        model=2,
        axis_rules={"embed": None, "batch": ("data",)},
        teacher_axis_rules={"mlp": ["fsdp", "model"]},
    )
    mesh, rules, teacher_rules = placement.place()
    assert mesh == make_mesh(2, 2, 2)
    found = specs(t5(), (2, 2, 2), adamw(1e-3), rules)
    assert found["params/decoder/layers_0/mlp/wi_0/kernel"] == ((16, 24), P(None, "model"))
    assert batch_sharding(mesh, rules).spec == P(("data",))
    check_batch_size(2, mesh, rules=rules)
    # A teacher's replace rows of the table, not of the student's.
    assert teacher_rules is not None
    assert dict(teacher_rules)["mlp"] == ("fsdp", "model")
    assert dict(teacher_rules)["embed"] == "fsdp"
    assert dict(teacher_rules)["batch"] == ("slice", "data", "fsdp")
    # Where none are given it is the table.
    assert batch_sharding(mesh).spec == P(("slice", "data", "fsdp"))
    with pytest.raises(UserError, match=r"BATCH_SIZE 2 .* use a multiple of 4"):
        check_batch_size(2, mesh)


def test_a_placement_without_rules_is_that_of_the_table() -> None:
    place = Placement().place()
    assert place == (make_mesh(), LOGICAL_AXIS_RULES, LOGICAL_AXIS_RULES)
    assert place[:2] == place_on(make_mesh())[:2] and place_on(make_mesh()).teacher_rules is None
    # A teacher without rules of its own has the student's; {} are none of the student's.
    changed = {"vocab": "fsdp"}
    changed_rules = logical_axis_rules(changed)
    assert Placement(axis_rules=changed).place()[1:] == (changed_rules, changed_rules)
    apart = Placement(axis_rules=changed, teacher_axis_rules={}).place()
    assert apart[1:] == (changed_rules, LOGICAL_AXIS_RULES)
    for placement in (
        Placement(axis_rules={"embed": "modle"}),
        Placement(teacher_axis_rules={"embed": "modle"}),
    ):
        with pytest.raises(UserError, match="'embed' goes to the mesh axis 'modle', which does"):
            placement.place()


def test_a_placement_uses_the_first_devices_it_is_told_to() -> None:
    devices = jax.devices()
    assert [*Placement().mesh().devices.flat] == devices
    assert [*Placement(first_devices=2).mesh().devices.flat] == devices[:2]
    assert [*Placement(first_devices=2).mesh(devices[4:]).devices.flat] == devices[4:6]
    assert [*Placement().place(devices[:4]).mesh.devices.flat] == devices[:4]
    mesh = Placement(data=1, fsdp=2, model=2, num_slices=2).mesh()
    assert dict(mesh.shape) == {"slice": 2, "data": 1, "fsdp": 2, "model": 2}
    with pytest.raises(UserError, match=r"fsdp 2 x model 1 is 2 devices but there are 3;"):
        Placement(fsdp=2, first_devices=3).mesh()


def test_a_run_may_go_on_wherever_it_is_placed() -> None:
    """All of a placement is free."""
    everything = Placement(1, 2, 4, 1, 8, {"embed": None}, {"mlp": "fsdp"})
    assert to_json(everything, identity=True) == to_json(Placement(), identity=True)
    assert json.loads(json.dumps(to_json(everything)))["teacher_axis_rules"] == {"mlp": "fsdp"}


def test_rules_keep_their_order_and_new_ones_follow() -> None:
    rules = logical_axis_rules({"tags": "model", "vocab": ["model", "fsdp"]})
    assert [name for name, _ in rules[:-1]] == [name for name, _ in LOGICAL_AXIS_RULES]
    assert rules[-1] == ("tags", "model")
    assert dict(rules)["vocab"] == ("model", "fsdp")
    with pytest.raises(UserError, match="'embed' goes to the mesh axis 'modle', which does not"):
        logical_axis_rules({"embed": "modle"})


def test_activations_are_placed_only_within_a_mesh_and_rules() -> None:
    mesh = make_mesh(2, 2, 2)
    x = jax.numpy.zeros((8, 3, 6))

    def place(mesh: Any) -> Any:
        def run(x: jax.Array) -> jax.Array:
            with partitioning(mesh, LOGICAL_AXIS_RULES):
                return constrain(x + 1, "batch", "length", "mlp")

        return jax.jit(run)(x).sharding

    expected = NamedSharding(mesh, P(("data", "fsdp"), None, "model"))
    assert place(mesh).is_equivalent_to(expected, 3)
    assert place(None) == x.sharding
    assert constrain(x, "batch", "length", "mlp") is x


@dataclasses.dataclass(frozen=True)
class FakeDevice:
    """What arranging devices looks at."""

    id: int
    slice_index: int
    process_index: int
    platform: str = "gpu"
    device_kind: str = "a GPU"


@pytest.mark.parametrize("granule", ["slice_index", "process_index"])
def test_slices_become_the_outermost_axis(granule: str) -> None:
    devices = [
        FakeDevice(i, **({"slice_index": 0, "process_index": 0} | {granule: i % 2}))
        for i in range(8)
    ]
    found = _arrange((2, 1, 2, 2), devices)
    assert found.shape == (2, 1, 2, 2)
    for index, one in enumerate(found):
        assert {getattr(device, granule) for device in one.flat} == {index}
    assert {device.id for device in found.flat} == set(range(8))


def test_a_number_of_slices_that_is_not_the_devices_is_refused() -> None:
    devices = [FakeDevice(i, i % 2, i % 2, "tpu") for i in range(8)]
    for slices in (1, 4):
        with pytest.raises(UserError, match=r"the devices are 2 slices.*NUM_SLICES=2"):
            _arrange((slices, 8 // slices, 1, 1), devices)
