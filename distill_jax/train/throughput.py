"""What a device can do at most, and the memory in use."""

from collections.abc import Sequence

import jax

PEAK_FLOPS = {
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5e": 197e12,
    "TPU v5": 459e12,
    "TPU v5p": 459e12,
    "TPU v6 lite": 918e12,
    "TPU v6e": 918e12,
    "NVIDIA H200": 989e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA L4": 121e12,
    "Tesla T4": 65e12,
}
"""`jax.Device.device_kind` → dense bfloat16 (T4: float16) FLOP/s of one device, the vendors' figures."""


def peak_flops(device: jax.Device) -> float | None:
    """The peak of a device in FLOP/s; None if it is not known, as of a CPU."""
    return PEAK_FLOPS.get(device.device_kind)


def memory_in_use(devices: Sequence[jax.Device]) -> dict[str, float]:
    """Bytes in use now and at most so far, of the fullest device; empty if the backend does not say."""
    statistics = [stats for device in devices if (stats := device.memory_stats())]
    names = {"memory_bytes": "bytes_in_use", "peak_memory_bytes": "peak_bytes_in_use"}
    return {
        ours: float(max(stats[theirs] for stats in statistics))
        for ours, theirs in names.items()
        if statistics and all(theirs in stats for stats in statistics)
    }
