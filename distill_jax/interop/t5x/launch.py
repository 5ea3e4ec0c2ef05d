"""`python -m distill_jax.interop.t5x.launch train|eval|infer …`: t5x's scripts on every host of a pod.

t5x connects its processes for GPUs alone, and only in `t5x.train`; without it Orbax saves nothing where
there are several. Here they are connected as `distill-jax train` does, with its exit codes: 75 where another
process has gone (the same command goes on from the newest checkpoint), 2 after one line about a mistake
of this project's, 1 after a traceback of t5x's. What follows the script's name is t5x's own.
"""

import importlib.util
import runpy
import sys
from collections.abc import Sequence

from distill_jax.errors import UserError
from distill_jax.parallel import processes

SCRIPTS = ("train", "eval", "infer")


def main(arguments: Sequence[str]) -> int:
    """Runs one of t5x's scripts to its end; 2 after one line if there is no such script, or no t5x."""
    try:
        script = _checked(arguments)
        processes.initialize()
        with processes.ends_together():
            sys.argv = [script, *arguments[1:]]
            # Its Gin files import it as `__main__`.
            runpy.run_module(script, run_name="__main__", alter_sys=True)
    except UserError as error:
        print(f"distill-jax: error: {error}", file=sys.stderr)
        return 2
    return 0


def _checked(arguments: Sequence[str]) -> str:
    """The module to run."""
    given = arguments[0] if arguments else ""
    if given not in SCRIPTS:
        raise UserError(f"t5x has no script {given!r} for a pod; give {', '.join(SCRIPTS)}")
    if importlib.util.find_spec("t5x") is None:
        raise UserError("t5x is not on PYTHONPATH; docs/t5x.md says what it takes")
    return f"t5x.{given}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
