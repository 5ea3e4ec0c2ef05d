"""The console script `distill-jax`, and the same as `python -m distill_jax`."""

import signal
import sys

from distill_jax.huge_pages import start_with_huge_pages


def run() -> int:
    """Runs the command line; the exit code."""
    # Before a command runs and after it has, Ctrl-C leaves nothing to tidy up and no traceback.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    start_with_huge_pages(__file__)
    from distill_jax.cli import main

    return main()


if __name__ == "__main__":
    sys.exit(run())
