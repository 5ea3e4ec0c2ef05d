"""The options that say which model tags, and with which decoder; shared by several commands."""

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from distill_jax.errors import UserError
from distill_jax.model_dir.looks import check_model_directory
from distill_jax_runtime.directory import is_exported

_NAMES = ("sentscore", "greedy", "free", "pruned")
_OF = {"beam": ("sentscore",), "normaliser": ("sentscore", "pruned"), "epsilon": ("pruned",)}


def add_model_options(
    parser: argparse.ArgumentParser, *, required: bool = True, several: bool = False
) -> None:
    """`--model`, `--kind_modules`, how it is computed, and the options of the decoder.

    Where there may be `several` models, `--model` is given once for each, with or without a name.
    """
    if several:
        parser.add_argument(
            "--model",
            required=required,
            action="append",
            metavar="[NAME=]DIR",
            help="a model directory; may be given several times, each model with a name",
        )
    else:
        parser.add_argument("--model", required=required, metavar="DIR", help="a model directory")
    parser.add_argument(
        "--batch_size", type=positive, default=32, metavar="N", help="default: %(default)s"
    )
    parser.add_argument(
        "--dtype",
        choices=("bfloat16", "float32"),
        help="of the activations of a T5 or encoder tagger; default: float32, or what it was saved with",
    )
    parser.add_argument(
        "--model_parallel",
        type=positive,
        default=1,
        metavar="N",
        help="split a T5 that is too large for one device over N of this machine's; default: 1",
    )
    parser.add_argument(
        "--kind_modules",
        nargs="+",
        default=[],
        metavar="MODULE",
        help="Python modules that register kinds of taggers, for a model that is none of this package's",
    )
    group = parser.add_argument_group("decoder", "how a T5 finds tags; word taggers have none")
    group.add_argument(
        "--decoder",
        choices=_NAMES,
        help="sentscore (default): every tag is scored at every word; pruned: the same tags, tags "
        "that cannot matter are not scored; greedy: token by token, legal, no posteriors; free: "
        "whatever the model writes, to see how often that is malformed",
    )
    group.add_argument(
        "--beam", type=int, metavar="K", help="sequences that sentscore keeps; default: 1"
    )
    group.add_argument(
        "--normaliser",
        choices=("vocab", "trie"),
        help="of sentscore and pruned; default: what the model was saved with",
    )
    group.add_argument(
        "--epsilon",
        type=float,
        metavar="E",
        help="by how much a posterior of pruned may be off; default: 1e-4",
    )


def add_warmup_option(parser: argparse.ArgumentParser) -> None:
    """`--warmup`."""
    parser.add_argument(
        "--warmup",
        action="store_true",
        help="compile all programs that the input needs first, and say how long that took",
    )


def positive(text: str) -> int:
    """An argument that is a whole number from 1."""
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def decoder_of(options: argparse.Namespace) -> dict[str, Any]:
    """What a command line says of the decoder; what is wrong with that is said before what is not there."""
    return {
        name: getattr(options, name)
        for name in ("decoder", "beam", "normaliser", "epsilon")
        if getattr(options, name) is not None
    }


def load_tagger(options: argparse.Namespace, *, posteriors_for: str | None = None) -> Any:
    """The `Tagger` of `--model` under the decoder asked for.

    Everything that can be told from the options alone is checked before a file is read, and what
    `tagger.json` tells before the weights are read; nothing is compiled.

    Args:
        options: parsed, with those of `add_model_options`.
        posteriors_for: what needs posteriors, if anything does, in the words of a user.

    Raises:
        UserError: a value out of range, an option that the decoder does not have, posteriors asked
            of a decoder that computes none, a decoder asked of a word tagger, no model, no such
            module of `--kind_modules`.
    """
    given = decoder_of(options)
    if not given:  # before JAX is imported; what is wrong with a decoder's options comes first
        check_model_directory(Path(options.model))
    from distill_jax.kinds.word_tagger import NO_DECODER
    from distill_jax.modules import import_own
    from distill_jax.sentscore import DecoderSettings
    from distill_jax.tagger import Tagger

    fields = {("name" if name == "decoder" else name): value for name, value in given.items()}
    settings = DecoderSettings(**fields)
    for name, decoders in _OF.items():
        if name in given and settings.name not in decoders:
            raise UserError(
                f"--{name} is an option of --decoder {' and '.join(decoders)}; {settings.name} has "
                "none, so leave it out"
            )
    if posteriors_for is not None and not settings.has_posteriors:
        raise UserError(
            f"{posteriors_for} needs posteriors and --decoder {settings.name} computes none; use "
            "sentscore or pruned"
        )
    for module in options.kind_modules:
        import_own(module)
    how = {
        "batch_size": options.batch_size,
        "dtype": options.dtype,
        "model_parallel": options.model_parallel,
    }
    if not given:
        return Tagger.load(options.model, **how)

    from distill_jax.model_dir.settings import read_tagger_file

    saved = read_tagger_file(Path(options.model)).settings
    if saved.format == "word_tags":
        raise UserError(f"{options.model}: {NO_DECODER}")
    return Tagger.load(
        options.model,
        decoder=settings,
        normaliser=options.normaliser or saved.normaliser,
        **how,
    )


def load_exported(options: argparse.Namespace, *, mapped: bool) -> Any:
    """The tagger of a `--model` that was exported to ONNX, which needs no JAX.

    `mapped` is that of the runtime's `Tagger.load`. Raises `UserError` for what an export has no choice of,
    and for a damaged one.
    """
    from distill_jax.modules import check_installed

    check_installed("onnxruntime", extra="onnx")
    from distill_jax_runtime.tagger import Tagger

    for name in ("decoder", "beam", "normaliser", "epsilon", "dtype", "kind_modules"):
        if getattr(options, name):
            raise UserError(
                f"--{name} is nothing that an exported model has a choice of; leave it out, or give the "
                "model directory that was exported"
            )
    if options.model_parallel != 1:
        raise UserError("--model_parallel is for a T5; an exported model runs on one core")
    return Tagger.load(options.model, batch_size=options.batch_size, mapped=mapped)


def load_any(options: argparse.Namespace, *, posteriors_for: str | None = None) -> Any:
    """The tagger of `--model`, exported or not, with ids and scores in place of spans.

    Raises `UserError` as `load_tagger` and `load_exported`.
    """
    if not is_exported(options.model):
        return load_tagger(options, posteriors_for=posteriors_for)
    tagger = load_exported(options, mapped=True)
    from distill_jax.export.tagger import ExportedTagger

    return ExportedTagger(options.model, tagger)


def warm_up(tagger: Any, chunks: Iterable[Sequence[Sequence[str]]], *, say: bool) -> float:
    """Compiles what predicting these chunks of sentences needs; returns the seconds it took.

    `say` prints them.
    """
    start = time.monotonic()
    programs = sum(tagger.warm_up(chunk) for chunk in chunks)
    seconds = time.monotonic() - start
    if say:
        print(f"warm-up: {programs} programs in {seconds:.1f} s", file=sys.stderr)
    return seconds
