"""Settings that must be in force before JAX is imported, and fixtures shared by all tests."""

import gc
import importlib.util
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.xla_flags import devices, quick_to_compile

# Eight virtual CPU devices let sharding be tested on any machine.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = " ".join(
    [os.environ.get("XLA_FLAGS", ""), devices(8), quick_to_compile()]
)
# Commands keep what they compile in the user's cache, where tests leave nothing and find nothing.
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
# Programs are compiled more often than they run, and nobody reads where their operations were written.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ.setdefault("JAX_INCLUDE_FULL_TRACEBACKS_IN_LOCATIONS", "0")

import pytest

# Traced programs are millions of objects that stay: looking through them for garbage as often as Python
# does by itself takes a sixth of the suite's time.
gc.set_threshold(200_000, 20, 100)

# A shell that runs the tests in the background lets them ignore Ctrl-C, and what they start as well.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED = Path(__file__).resolve().parents[2] / "shared"
CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with real data and T5's vocabulary; a test that needs it skips where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("needs the optional folder ../shared (real data and T5's vocabulary)")
    return SHARED


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window, under playwright; a test that needs it skips where one of them is absent."""
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("needs the package playwright")
    if not CHROMIUM.exists():
        pytest.skip(f"needs {CHROMIUM}")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(autouse=True)
def _no_gin_configuration_left_behind() -> Iterator[None]:
    """Gin's configuration is global: what one test binds must not reach the next."""
    yield
    if "gin" in sys.modules:
        sys.modules["gin"].clear_config()
