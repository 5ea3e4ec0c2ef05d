"""What chips can do: memory, arithmetic, memory bandwidth, and the network between them.

Peak arithmetic is `train.throughput.PEAK_FLOPS`. Sources of the rest:

- TPU memory: what libtpu says a program may use, which on all but v5p is a little less than the pages
  say. Its bandwidth: Google Cloud's pages "TPU v4", "TPU v5e", "TPU v5p" and "TPU v6e"
  (docs.cloud.google.com/tpu/docs/v6e and so on).
- TPU networks: Austin et al. 2025, "How to Scale Your Model" (jax-ml.github.io/scaling-book), part 2:
  one-way bandwidth of an ICI link (4.5e10 bytes/s on v4 and v5e, 9e10 on v5p and v6e; the pages' nominal
  figures are a tenth higher), of which a ring along one axis of the torus uses two, one each way. DCN of
  a chip: Google's pages (v5p 50 Gb/s; v5e and v6e a pod's 6.4 and 25.6 Tb/s over its 256 chips), and of
  v4 the book's 2.5e10 bytes/s of a host over its four.
- GPUs: NVIDIA's data sheets, memory as `nvidia-smi` shows it; the network is NVLink one way (L4, T4:
  PCIe). Between hosts a network card a GPU: 400 Gb/s in DGX H100 and H200, 200 Gb/s in DGX A100; taken
  to be 100 (L4) and 50 Gb/s (T4), which depends on the host.
"""

import dataclasses

import jax

from distill_jax.train.throughput import PEAK_FLOPS

MIB, GIB = 2**20, 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
    """One device as JAX counts them; bytes, bytes/s, FLOP/s in bfloat16.

    `ici` is what a ring of devices along one axis of the fast network carries, `dcn` what a device
    has between slices or hosts.
    """

    name: str
    kinds: tuple[str, ...]
    """What `jax.Device.device_kind` says."""
    hbm: int
    hbm_bandwidth: float
    ici: float
    dcn: float

    @property
    def flops(self) -> float:
        return PEAK_FLOPS[self.kinds[0]]


CHIPS = (
    Chip("v4", ("TPU v4",), int(30.75 * GIB), 1.23e12, 9.0e10, 6.25e9),
    Chip("v5e", ("TPU v5 lite", "TPU v5e"), int(15.75 * GIB), 8.2e11, 9.0e10, 3.125e9),
    Chip("v5p", ("TPU v5", "TPU v5p"), int(95.73 * GIB), 2.77e12, 1.8e11, 6.25e9),
    Chip("v6e", ("TPU v6 lite", "TPU v6e"), int(31.24 * GIB), 1.64e12, 1.8e11, 1.25e10),
    Chip("H200", ("NVIDIA H200",), 143_771 * MIB, 4.8e12, 4.5e11, 5.0e10),
    Chip("H100", ("NVIDIA H100 80GB HBM3",), 81_559 * MIB, 3.35e12, 4.5e11, 5.0e10),
    Chip("A100-80GB", ("NVIDIA A100-SXM4-80GB",), 81_920 * MIB, 2.04e12, 3.0e11, 2.5e10),
    Chip("A100-40GB", ("NVIDIA A100-SXM4-40GB",), 40_960 * MIB, 1.56e12, 3.0e11, 2.5e10),
    Chip("L4", ("NVIDIA L4",), 23_034 * MIB, 3.0e11, 3.2e10, 1.25e10),
    Chip("T4", ("Tesla T4",), 15_360 * MIB, 3.2e11, 1.6e10, 6.25e9),
)


def chip_of(device: jax.Device) -> Chip | None:
    """What is known of a device's chip; None of a CPU, or of a chip that the table lacks."""
    return next((chip for chip in CHIPS if device.device_kind in chip.kinds), None)
