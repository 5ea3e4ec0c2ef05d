"""`distill-jax fit`: from data to a tagger in one command."""

import argparse
from typing import Any

from distill_jax.cli.decoder_options import positive
from distill_jax.cli.input_options import add_input_options, read_options
from distill_jax.cli.output import check_local_options


def add_commands(commands: Any) -> None:
    """Adds the commands of this module to the parser."""
    fit = commands.add_parser(
        "fit",
        help="from labelled sentences to a calibrated, exported student, in one command: docs/fit.md",
        description="Checks the data, fine-tunes a teacher, labels the unlabelled text, distils a student, "
        "calibrates, scores and exports it. Run again, it goes on where it was stopped. --gin.NAME=VALUE, as "
        "often as needed, is for the student's run.",
    )
    fit.add_argument(
        "data", metavar="DATA", help="a folder with train (and dev, test), or a file: docs/data.md"
    )
    fit.add_argument("--out", required=True, metavar="DIR", help="where everything is written")
    fit.add_argument(
        "--unlabelled",
        nargs="+",
        default=[],
        metavar="FILE",
        help="text that the teacher labels for the student",
    )
    fit.add_argument(
        "--teacher",
        metavar="DIR",
        help="a BERT (MiniLM, ELECTRA, RoBERTa, XLM-R) or T5 with safetensors, or a tagger that knows the "
        "labels",
    )
    fit.add_argument(
        "--minutes",
        type=float,
        default=20.0,
        metavar="N",
        help="how long it may take, roughly; default: %(default)g",
    )
    fit.add_argument(
        "--dev",
        type=positive,
        metavar="N",
        help="sentences held out where there is no dev split; default: a fifth, at most 500",
    )
    fit.add_argument(
        "--student",
        choices=("bilstm", "bert"),
        default="bilstm",
        help="a BiLSTM, or every other layer of a BERT that is the teacher; default: %(default)s",
    )
    fit.add_argument("--vectors", metavar="FILE", help="GloVe, word2vec or fastText, for a BiLSTM")
    fit.add_argument("--steps", type=positive, metavar="N", help="of the student")
    fit.add_argument("--teacher_steps", type=positive, metavar="N", help="of the teacher")
    fit.add_argument("--seed", type=int, default=0, metavar="N", help="default: %(default)s")
    add_input_options(fit)
    fit.set_defaults(run=_fit)


def _fit(options: argparse.Namespace) -> None:
    from distill_jax.cli.screen import Screen
    from distill_jax.jobs.fitting import FitOptions, fit_tagger

    check_local_options(options, "data", "out", "unlabelled", "teacher", "vectors")
    fit_tagger(
        FitOptions(
            data=options.data,
            out=options.out,
            unlabelled=options.unlabelled,
            teacher=options.teacher,
            minutes=options.minutes,
            dev=options.dev,
            student=options.student,
            vectors=options.vectors,
            steps=options.steps,
            teacher_steps=options.teacher_steps,
            seed=options.seed,
            bindings=options.gin_bindings,
        ),
        Screen(),
        read_options(options),
    )
