"""Programs that XLA compiled, kept for the next command."""

import os
from pathlib import Path


def use_compilation_cache() -> None:
    """Keeps compiled programs between runs, unless the environment says where or not at all."""
    if "JAX_COMPILATION_CACHE_DIR" in os.environ or "JAX_ENABLE_COMPILATION_CACHE" in os.environ:
        return
    import jax

    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    jax.config.update("jax_compilation_cache_dir", str(Path(base) / "distill_jax" / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
