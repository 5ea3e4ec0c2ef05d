"""XLA's flags in tests, which compile much and compute little."""

QUICK_TO_COMPILE = " ".join(
    [
        "--xla_backend_optimization_level=0",
        # The older code generator for fusions: it takes a third of the time.
        "--xla_cpu_use_fusion_emitters=false",
        "--xla_cpu_parallel_codegen_split_count=1",  # each core has a test process of its own
    ]
)


def devices(number: int) -> str:
    """So many virtual CPU devices."""
    return f"--xla_force_host_platform_device_count={number}"
