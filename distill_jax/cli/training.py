"""`distill-jax demo` and `distill-jax train`."""

import argparse
import os
import re
from collections.abc import Sequence
from typing import Any

from distill_jax.cli.output import check_local_options
from distill_jax.errors import UserError

_EXIT_CODES = """\
exit codes:
  0    trained to the end; the model is in MODEL_DIR/model
  2    bad usage or bad input, said in one line; nothing is overwritten
  75   another process of the job has gone, or never came; start the job again (134: the same, ended
       by JAX itself)
  143  SIGTERM: a checkpoint is saved; the same command goes on from there
Whatever stops a run, the same command goes on from its newest sound checkpoint.
"""


def add_commands(commands: Any) -> None:
    """Adds the commands of this module to the parser."""
    demo = commands.add_parser(
        "demo", help="the main job on the embedded data: teacher, students, evaluation"
    )
    demo.add_argument("--out", default="runs/demo", metavar="DIR", help="default: %(default)s")
    demo.add_argument(
        "--full",
        action="store_true",
        help="a student of pseudo-labels and a smaller T5 as well, which take about as long again",
    )
    add_verbose_option(demo)
    demo.set_defaults(run=_demo)

    train = commands.add_parser(
        "train",
        help="any run that a Gin file configures",
        description="Any run that a Gin file configures. --gin.NAME=VALUE, as often as needed, binds "
        "a\nmacro or parameter and wins over the files: --gin.TRAIN_STEPS=100.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    train.add_argument(
        "--gin_file", action="append", default=[], metavar="FILE", help="may be given several times"
    )
    train.add_argument(
        "--profile_steps",
        metavar="A:B",
        help="write a profiler trace of the steps A to B, counted from 1, to MODEL_DIR/profile",
    )
    add_verbose_option(train)
    job = train.add_argument_group(
        "several processes",
        "One process a host, all with the same command and a MODEL_DIR that all see. On a TPU\n"
        "pod, in GKE and under Slurm or Open MPI they find each other; elsewhere give all three\n"
        "options (or JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID).",
    )
    job.add_argument("--coordinator_address", metavar="HOST:PORT", help="of process 0")
    job.add_argument("--num_processes", type=int, metavar="N")
    job.add_argument("--process_id", type=int, metavar="I", help="0 to N - 1")
    train.set_defaults(run=_train)


def add_verbose_option(command: argparse.ArgumentParser) -> None:
    """Adds `--verbose` of commands that train."""
    command.add_argument(
        "--verbose",
        action="store_true",
        help="a line for every evaluation and every 50 steps (LOG_PERIOD), in place of one line of progress",
    )


def with_verbose(options: argparse.Namespace) -> list[str]:
    """The bindings of Gin that a command line gives, those of `--verbose` among them."""
    return [*options.gin_bindings, *(["VERBOSE=True"] if options.verbose else [])]


def split_gin_bindings(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Takes `--gin.NAME=VALUE` out of a command line, since argparse cannot know the names.

    Returns the other arguments, and bindings as Gin reads them.
    """
    ours = [argument.startswith("--gin.") for argument in arguments]
    others = [argument for argument, gin in zip(arguments, ours, strict=True) if not gin]
    bindings = [a.removeprefix("--gin.") for a, gin in zip(arguments, ours, strict=True) if gin]
    return others, bindings


def _demo(options: argparse.Namespace) -> None:
    check_local_options(options, "out")
    from distill_jax.jobs.demo import demo

    demo(options.out, full=options.full, bindings=with_verbose(options))


def _train(options: argparse.Namespace) -> None:
    steps = _profile(options.profile_steps)
    from distill_jax.jobs.early import check_early
    from distill_jax.parallel.cluster import given_job

    job = (options.coordinator_address, options.num_processes, options.process_id)
    given_job(*job, os.environ)  # of which a part may be missing
    check_early(options.gin_file, options.gin_bindings)
    from distill_jax.parallel import processes

    # JAX must know of the other processes before it looks for devices, as importing the runs may.
    processes.initialize(*job)
    with processes.ends_together():
        from distill_jax.jobs.launch import configured

        configured(options.gin_file, with_verbose(options), profile_steps=steps).run()


def _profile(steps: str | None) -> tuple[int, int] | None:
    if steps is None:
        return None
    numbers = re.fullmatch(r"(\d+):(\d+)", steps)
    if not numbers or not 1 <= int(numbers[1]) <= int(numbers[2]):
        raise UserError(
            f"--profile_steps is {steps!r}; give the first step, from 1, and the last: 10:12"
        )
    return int(numbers[1]), int(numbers[2])
