"""What a program moves, read from its text: written programs, and compiled ones in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from distill_jax.parallel.mesh import make_mesh
from distill_jax.planning.hlo import traffic
from distill_jax.planning.hlo_groups import device_groups

FLOAT = 4


def _traffic(function, *arguments, **options):
    text = jax.jit(function).lower(*arguments).compile().as_text()
    return traffic(text, **{"devices": 8, **options})


def _sharded(shape, *axes):
    mesh = make_mesh(data=2, fsdp=4, devices=jax.devices()[:8])
    return jax.ShapeDtypeStruct(
        shape, jnp.float32, sharding=NamedSharding(mesh, PartitionSpec(*axes))
    )


def test_an_elementwise_function_reads_and_writes_its_arrays():
    found = _traffic(lambda x: jnp.sin(x) + 1, jax.ShapeDtypeStruct((1024,), jnp.float32))
    assert found.memory == 2 * 1024 * FLOAT
    assert not found.collectives


def test_a_gather_of_parameters_in_a_scan_counts_every_layer():
    layers, width = 5, 16

    def forward(x, w):
        def layer(x, w):
            w = jax.lax.with_sharding_constraint(w, replicated)
            return jnp.tanh(x @ w), None

        return jax.lax.scan(layer, x, w)[0]

    x, w = _sharded((8, width), ("data", "fsdp")), _sharded((layers, width, width), None, "fsdp")
    replicated = NamedSharding(w.sharding.mesh, PartitionSpec())
    found = _traffic(forward, x, w).collectives["all-gather"]
    assert found.count == layers
    assert found.bytes == layers * width * width * FLOAT
    # Of what is gathered a device receives, and sends on, all but a quarter.
    assert found.sent == found.bytes * 3 / 4


def test_a_sum_over_devices_is_sent_twice():
    def total(x):
        return jax.lax.with_sharding_constraint(
            x.sum(0), NamedSharding(x_place.mesh, PartitionSpec())
        )

    x = _sharded((8, 256), ("data", "fsdp"))
    x_place = x.sharding
    found = _traffic(total, x).collectives["all-reduce"]
    assert (found.count, found.bytes) == (1, 256 * FLOAT)
    assert found.sent == 2 * 256 * FLOAT * 7 / 8
    assert found.sent_between_slices == 0


def test_a_tpu_s_compiler_hands_what_goes_between_slices_to_the_runtime():
    text = """
HloModule jit_step

ENTRY %main (p: f32[256,1024]) -> f32[256,1024] {
  %p = f32[256,1024]{1,0:T(8,128)} parameter(0)
  %after-all = token[] after-all(), frontend_attributes={MegascaleRendezvousKeyName="all-reduce.2_0"}
  %send = (f32[256,1024]{1,0}, u32[], token[]) send(%p, %after-all), channel_id=2, is_host_transfer=true, SUM
  %recv = (f32[256,1024]{1,0}, u32[], token[]) recv(%after-all), channel_id=1, is_host_transfer=true, SUM
  %send-done = token[] send-done(%send), channel_id=2, is_host_transfer=true
  %recv-done = (f32[256,1024]{1,0}, token[]) recv-done(%recv), channel_id=1, is_host_transfer=true
  %other = (f32[256,1024]{1,0}, u32[], token[]) send(%p, %after-all), channel_id=3, is_host_transfer=true
  ROOT %got = f32[256,1024]{1,0} get-tuple-element(%recv-done), index=0
}
"""
    attributes = '_xla_megascale_reduce_operation="SUM",_xla_megascale_transfer_type="ALL_REDUCE"'
    text = text.replace(" SUM", f" frontend_attributes={{{attributes}}}")
    found = traffic(text, devices=8, slices=2).collectives
    size = 256 * 1024 * FLOAT
    assert list(found) == ["all-reduce"]
    assert (found["all-reduce"].count, found["all-reduce"].bytes) == (1, size)
    # Both slices have a half of the sum to send, and then the other half's.
    assert (found["all-reduce"].sent, found["all-reduce"].sent_between_slices) == (0, size)
    three = traffic(text, devices=12, slices=3).collectives["all-reduce"]
    assert three.sent_between_slices == pytest.approx(size * 4 / 3)


def test_between_slices_goes_what_a_slice_has_summed():
    x = _sharded((8, 256), ("data", "fsdp"))
    whole = NamedSharding(x.sharding.mesh, PartitionSpec())

    def total(x):
        return jax.lax.with_sharding_constraint(x.sum(0), whole)

    found = _traffic(total, x, slices=2).collectives["all-reduce"]
    # Each of a slice's four devices has a quarter of the sum to exchange with the other slice.
    assert found.sent_between_slices == 2 * 256 * FLOAT / 4 / 2
    assert found.sent == 2 * 256 * FLOAT * 3 / 4


def test_a_scan_reads_of_stacked_weights_one_layer_at_a_time():
    layers, width = 16, 64

    def forward(x, w):
        return jax.lax.scan(lambda x, w: (x @ w, None), x, w)[0]

    shapes = [
        jax.ShapeDtypeStruct(shape, jnp.float32) for shape in [(1, width), (layers, width, width)]
    ]
    moved = _traffic(forward, *shapes, devices=1).memory
    weights = layers * width * width * FLOAT
    # Cut out, perhaps copied, and multiplied: not the whole stack for every layer.
    assert weights <= moved <= 4 * weights


ALONG_AXIS_1 = (
    "channel_id=7, replica_groups=mesh['axis_0'=2,'axis_1'=2] {'axis_1'}, dimensions={0}, "
    'frontend_attributes={chain_id="3"}'
)
WRITTEN = """\
HloModule jit_step, is_scheduled=true

%inner (p.0: bf16[2,8,128]) -> bf16[8,128] {
  %p.0 = bf16[2,8,128]{2,1,0:T(8,128)(2,1)} parameter(0)
  %zero = s32[]{:T(128)} constant(0)
  %cut = bf16[1,8,128]{2,1,0:T(8,128)(2,1)} dynamic-slice(%p.0, %zero, %zero, %zero)
  ROOT %flat = bf16[8,128]{1,0:T(8,128)(2,1)} bitcast(%cut)
}

%start (p.1: f32[8,128]) -> f32[16,128] {
  %p.1 = f32[8,128]{1,0:T(8,128)} parameter(0)
  ROOT %all-gather.1 = f32[16,128]{1,0:T(8,128)} all-gather(%p.1), ALONG_AXIS_1
}

%done (p.2: f32[8,128]) -> f32[16,128] {
  %p.2 = f32[8,128]{1,0:T(8,128)} parameter(0)
  ROOT %all-gather.2 = f32[16,128]{1,0:T(8,128)} all-gather(%p.2), ALONG_AXIS_1
}

%all-reduce-scatter.1 (p.3: bf16[16,128]) -> bf16[8,128] {
  %p.3 = bf16[16,128]{1,0:T(8,128)(2,1)} parameter(0)
  %all-reduce.1 = bf16[16,128]{1,0:T(8,128)(2,1)} all-reduce(%p.3), channel_id=1, replica_groups={{0,1},{2,3}}
  ROOT %part = bf16[8,128]{1,0:T(8,128)(2,1)} dynamic-slice(%all-reduce.1, %z, %z)
}

%body (state: (s32[], f32[8,128])) -> (s32[], f32[8,128]) {
  %state = (s32[]{:T(128)}, f32[8,128]{1,0:T(8,128)}) parameter(0)
  %x = f32[8,128]{1,0:T(8,128)S(1)} get-tuple-element(%state), index=1
  %begun = f32[16,128]{1,0:T(8,128)S(1)} fusion(%x), kind=kCustom, calls=%start
  %ended = f32[16,128]{1,0:T(8,128)S(1)} fusion(%x), kind=kCustom, calls=%done
  %count = s32[]{:T(128)} get-tuple-element(%state), index=0
  %two = s32[]{:T(128)} constant(2)
  %more = s32[]{:T(128)S(1)} add(%count, %two)
  ROOT %next = (s32[]{:T(128)}, f32[8,128]{1,0:T(8,128)}) tuple(%more, %x)
}

%condition (state.1: (s32[], f32[8,128])) -> pred[] {
  %state.1 = (s32[]{:T(128)}, f32[8,128]{1,0:T(8,128)}) parameter(0)
  %bound = s32[]{:T(128)} constant(48)
  %i = s32[]{:T(128)} get-tuple-element(%state.1), index=0
  ROOT %less = pred[]{:T(512)} compare(%i, %bound), direction=LT
}

ENTRY %main (a: bf16[2,8,128], b: bf16[16,128]) -> bf16[8,128] {
  %a = bf16[2,8,128]{2,1,0:T(8,128)(2,1)} parameter(0)
  %b = bf16[16,128]{1,0:T(8,128)(2,1)S(1)} parameter(1)
  %loop = (s32[]{:T(128)}, /*index=1*/f32[8,128]{1,0:T(8,128)}) while(%init), condition=%condition, body=%body
  %scattered = bf16[8,128]{1,0:T(8,128)(2,1)S(1)} fusion(%b), kind=kCustom, calls=%all-reduce-scatter.1
  ROOT %out = bf16[8,128]{1,0:T(8,128)(2,1)} fusion(%a), kind=kLoop, calls=%inner
}
""".replace("ALONG_AXIS_1", ALONG_AXIS_1)


def test_a_tpu_program_as_it_is_written():
    found = traffic(WRITTEN, devices=4)
    # Arrays in VMEM, S(1), are not in main memory; of a slice only the slice is read.
    counted = 24 * (4 + 4 + 1) + 24 * (4 + 4)
    assert found.memory == counted + 2 * (8 * 128 * 2)
    gather, scatter = found.collectives["all-gather"], found.collectives["reduce-scatter"]
    # Begun and ended in two fusions it is one collective; counting by twos to 48 takes 24 turns.
    assert (gather.count, gather.bytes) == (24, 24 * 16 * 128 * FLOAT)
    assert gather.sent == gather.bytes / 2
    assert (scatter.count, scatter.sent) == (1, 16 * 128 * 2 / 2)
    assert set(found.collectives) == {"all-gather", "reduce-scatter"}


@pytest.mark.parametrize(
    ("written", "groups"),
    [
        ("replica_groups={{0,1},{2,3}}, x", [[0, 1], [2, 3]]),
        ("replica_groups=[2,4]<=[8], x", [[0, 1, 2, 3], [4, 5, 6, 7]]),
        ("replica_groups=[4,2]<=[2,4]T(1,0), x", [[0, 4], [1, 5], [2, 6], [3, 7]]),
        ("replica_groups=mesh['a'=2,'b'=4] {'a'}, x", [[0, 4], [1, 5], [2, 6], [3, 7]]),
        ("replica_groups=mesh['a'=2,'b'=4] {'b'}, x", [[0, 1, 2, 3], [4, 5, 6, 7]]),
        ("replica_groups=mesh['a'=2,'b'=4] {'b':(2)2}, x", [[0, 1], [2, 3], [4, 5], [6, 7]]),
        ("replica_groups=mesh['a'=8] {'a'}, x", [list(range(8))]),
        ("source_target_pairs={{0,1},{1,0}}, x", [[0, 1], [1, 0]]),
        ("dimensions={0}", []),
    ],
)
def test_groups_of_devices_in_every_notation(written, groups):
    assert np.array_equal(device_groups(written, 8), groups)
