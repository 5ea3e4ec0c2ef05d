"""`distill-jax study`."""

import argparse
import contextlib
import os
from typing import Any

from distill_jax.cli.training import add_verbose_option, with_verbose
from distill_jax.errors import UserError


def add_commands(commands: Any) -> None:
    """Adds the commands of this module to the parser."""
    study = commands.add_parser(
        "study",
        help="the paper's experiments: data sets × sizes × seeds, teachers and students, tables",
        description="Runs the study that a Gin file configures, or what is missing of it. "
        "--gin.NAME=VALUE, as often as needed, binds a macro or parameter and wins over the files: "
        "--gin.SEEDS='(0, 1)'.",
    )
    study.add_argument(
        "--gin_file",
        action="append",
        required=True,
        metavar="FILE",
        help="gin/runs/fewshot_study.gin or generation_study.gin; may be given several times",
    )
    add_verbose_option(study)
    study.set_defaults(run=_study)


def _study(options: argparse.Namespace) -> None:
    from distill_jax.jobs.early import check_study

    check_study(options.gin_file, options.gin_bindings)
    _use_all_cores()
    from distill_jax.jobs.building import build_run
    from distill_jax.study.generation.run import GenerationStudyRun
    from distill_jax.study.run import Study, StudyRun

    run = build_run(options.gin_file, with_verbose(options), (StudyRun, GenerationStudyRun))
    if not isinstance(run, Study):
        raise UserError(f"{options.gin_file[-1]} is no study; run it with distill-jax train")
    run.run()


def _use_all_cores() -> None:
    """On a CPU a device for each core, over which students trained together are split."""
    import jax

    if getattr(jax.config, "jax_platforms", None) not in (None, "", "cpu"):
        return
    if "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    with contextlib.suppress(RuntimeError):  # JAX is in use already, with the devices it has
        jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))
