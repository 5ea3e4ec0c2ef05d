"""Programs that XLA compiled, kept for the next command."""

import os
import sys
from pathlib import Path


def use_compilation_cache() -> None:
    """Keeps compiled programs between runs, unless the environment says where or not at all."""
    if "JAX_COMPILATION_CACHE_DIR" in os.environ or "JAX_ENABLE_COMPILATION_CACHE" in os.environ:
        return
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    options = {
        "jax_compilation_cache_dir": str(Path(base) / "distill_jax" / "xla"),
        "jax_persistent_cache_min_compile_time_secs": 0.5,
    }
    for name, value in options.items():
        if "jax" in sys.modules:
            sys.modules["jax"].config.update(name, value)
        else:
            # JAX reads it when it is imported, for which a command that ends in an error need not wait.
            os.environ.setdefault(name.upper(), str(value))
