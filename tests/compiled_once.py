"""A folder of compiled programs, shared by tests that compile the same ones again and again."""

import contextlib
from collections.abc import Iterator

import jax
from jax.experimental.compilation_cache import compilation_cache

CACHE_OPTIONS = {
    "jax_enable_compilation_cache": True,
    "jax_compilation_cache_dir": None,
    "jax_persistent_cache_min_compile_time_secs": 0,
    "jax_persistent_cache_min_entry_size_bytes": 0,
}


def cache_environment(directory: str) -> dict[str, str]:
    """Environment variables that make another process use the folder."""
    options = CACHE_OPTIONS | {"jax_compilation_cache_dir": directory}
    return {name.upper(): str(value) for name, value in options.items()}


@contextlib.contextmanager
def compiled_once(directory: str) -> Iterator[None]:
    """Within it this process uses the folder."""
    before = {name: getattr(jax.config, name) for name in CACHE_OPTIONS}
    for name, value in (CACHE_OPTIONS | {"jax_compilation_cache_dir": directory}).items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
