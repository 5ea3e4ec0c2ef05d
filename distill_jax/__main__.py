"""`python -m distill_jax`: the same as the console script `distill-jax`."""

import sys

from distill_jax.cli import main

if __name__ == "__main__":
    sys.exit(main())
