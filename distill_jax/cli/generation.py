"""`distill-jax generate`: new sentences for a teacher to label, where there are no unlabelled ones."""

import argparse
import sys
from typing import Any

from distill_jax.cli.decoder_options import positive
from distill_jax.cli.given import check_inputs
from distill_jax.cli.input_options import add_input_options, read_options
from distill_jax.cli.output import check_local_options, progress
from distill_jax.errors import UserError

_FROM = ("infill", "swap", "lm")
_REASONS = ("unfinished", "malformed", "gold", "duplicate", "near_duplicate")


def add_commands(commands: Any) -> None:
    """Adds the commands of this module to the parser."""
    generate = commands.add_parser(
        "generate", help="new sentences like the labelled ones, filtered, for a teacher to label"
    )
    generate.add_argument(
        "--model",
        metavar="DIR",
        help="a T5 that was trained to write, or with --from infill any T5",
    )
    generate.add_argument(
        "--from",
        dest="origin",
        choices=_FROM,
        help="infill: a T5 writes masked spans of gold sentences anew; swap: mentions of gold sentences "
        "change places; lm: the file --sentences; default: as the generator --model was trained",
    )
    generate.add_argument("--sentences", metavar="FILE", help="what something else has written")
    generate.add_argument("--gold", metavar="FILE", help="the labelled sentences there are")
    generate.add_argument(
        "--held_out",
        nargs="+",
        default=[],
        metavar="FILE",
        help="dev and test sentences: what is shared with them is reported; refused as --gold or --sentences",
    )
    generate.add_argument(
        "--number",
        type=positive,
        metavar="N",
        help="sentences to draw, of which the filters leave some; default with lm: those of the file",
    )
    generate.add_argument("--output", metavar="DIR", help="the pool")
    generate.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    generate.add_argument(
        "--shard_size", type=positive, default=1024, metavar="N", help="default: %(default)s"
    )
    generate.add_argument(
        "--verify", metavar="DIR", help="draw nothing; read a finished pool and check all of it"
    )
    _add_sampling_options(generate)
    _add_filter_options(generate)
    add_input_options(generate)
    generate.set_defaults(run=_run)


def _add_sampling_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("sampling", "how a T5 draws tokens")
    group.add_argument("--temperature", type=float, default=1.0, help="default: %(default)s")
    group.add_argument(
        "--top_k", type=int, default=0, metavar="K", help="of the K likeliest; default: all"
    )
    group.add_argument(
        "--top_p", type=float, default=0.95, metavar="P", help="default: %(default)s"
    )
    group.add_argument(
        "--min_p",
        type=float,
        default=0.0,
        metavar="P",
        help="of those at least P times as likely as the likeliest; default: all",
    )
    group.add_argument(
        "--no_repeat_ngram",
        type=int,
        default=0,
        metavar="N",
        help="no N tokens in a row twice; default: they may",
    )
    group.add_argument(
        "--max_tokens", type=int, default=64, metavar="N", help="default: %(default)s"
    )
    group.add_argument(
        "--batch_size", type=positive, default=64, metavar="N", help="default: %(default)s"
    )
    group.add_argument("--dtype", choices=("bfloat16", "float32"), help="of the activations")
    group.add_argument("--model_parallel", type=positive, default=1, metavar="N")
    group.add_argument(
        "--masked",
        choices=("mentions", "context", "both"),
        default="both",
        help="what --from infill masks; default: %(default)s",
    )
    group.add_argument(
        "--mask_share",
        type=float,
        default=0.5,
        metavar="P",
        help="with which probability --from infill masks each; default: %(default)s",
    )


def _add_filter_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("filters", "what is kept; docs/generation.md")
    group.add_argument(
        "--length",
        nargs=2,
        type=int,
        metavar=("MIN", "MAX"),
        help="words; default: those of the shortest and the longest gold sentence; 0 0: any",
    )
    group.add_argument(
        "--perplexity",
        nargs=2,
        type=float,
        metavar=("MIN", "MAX"),
        help="of a token under the generator; default: any",
    )
    group.add_argument(
        "--keep",
        nargs="+",
        default=[],
        choices=_REASONS,
        help="filters to switch off: keep what was cut off, what has malformed tags (without these), copies "
        "of gold, duplicates, or sentences of the same words in another order",
    )


def _run(options: argparse.Namespace) -> None:
    check_local_options(options, "model", "sentences", "gold", "held_out", "output", "verify")
    if options.verify is not None:
        _verify(options)
    else:
        _generate(options)


def _verify(options: argparse.Namespace) -> None:
    from distill_jax.generate.pool import GeneratedPool

    if options.gold or options.output or options.model or options.origin:
        raise UserError("--verify checks a pool that is there; give it no other option")
    pool = GeneratedPool(options.verify)
    pool.verify()
    print(f"{options.verify}: whole; {_counted(pool.counts)}")


def _generate(options: argparse.Namespace) -> None:
    if options.output is None or options.gold is None:
        raise UserError("generate needs --gold FILE and --output DIR (or --verify DIR alone)")
    check_inputs([options.gold, options.sentences, *options.held_out])
    from distill_jax.data.readers import ReadOptions, is_stream, read_sentences
    from distill_jax.generate.pool import PoolLayout
    from distill_jax.jobs.generation import Material, generate

    reading = read_options(options)
    origin = _origin(options, reading)
    if options.origin == "lm":
        if is_stream(options.sentences):
            raise UserError("--sentences is read several times; give a file, not a pipe")
        reading = ReadOptions()  # what was said of a format is of these sentences
    gold = list(read_sentences(options.gold, options=reading))
    held_out = {path: list(read_sentences(path, options=reading)) for path in options.held_out}
    if options.origin == "lm" and next(iter(origin), None) is None:
        raise UserError(f"{options.sentences}: holds no sentences; give a file that does")
    number = options.number or (sum(1 for _ in origin) if options.origin == "lm" else None)
    if number is None:
        raise UserError("generate needs --number N, the sentences to draw")
    filters = _filters(options, gold)
    with progress("generate", number) as advance:
        pool = generate(
            origin,
            Material(gold, held_out),
            options.output,
            layout=PoolLayout(number, options.shard_size),
            filters=filters,
            seed=options.seed,
            progress=advance,
        )
    print(f"{options.output}: {_counted(pool.counts)}", file=sys.stderr)
    for name, value in pool.figures["diversity"].items():
        print(f"  {name} {value}", file=sys.stderr)
    for path, shared in pool.figures["held_out"].items():
        figures = ", ".join(f"{name} {value}" for name, value in shared.items())
        print(f"  shared with {path}: {figures}", file=sys.stderr)


def _origin(options: argparse.Namespace, reading: Any) -> Any:
    """Where sentences come from, checked before a model is read."""
    from distill_jax.generate.infill import InfillWriter
    from distill_jax.generate.settings import SamplingSettings
    from distill_jax.jobs.generation import FromFile, FromModel, FromSwap

    if (options.origin == "lm") != (options.sentences is not None):
        raise UserError("--from lm and --sentences FILE go together; give both or neither")
    if (options.origin in ("swap", "lm")) == (options.model is not None):
        raise UserError(
            "generate needs --model DIR (with --from infill for a T5 as pre-trained), or --from swap, or "
            "--from lm, which have no model"
        )
    if options.origin == "swap":
        return FromSwap()
    if options.origin == "lm":
        return FromFile(options.sentences, reading)
    sampling = SamplingSettings(
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        min_p=options.min_p,
        no_repeat_ngram=options.no_repeat_ngram,
        max_tokens=options.max_tokens,
    )
    infill = None
    if options.origin == "infill":
        infill = InfillWriter(masked=options.masked, share=options.mask_share)
    return FromModel(
        options.model,
        infill,
        sampling,
        options.batch_size,
        options.dtype,
        options.model_parallel,
    )


def _filters(options: argparse.Namespace, gold: list[Any]) -> Any:
    from distill_jax.generate.filters import FilterSettings, lengths_of

    words = [sentence.words for sentence in gold]
    if not any(words):
        raise UserError(f"{options.gold}: holds no sentences; give the labelled ones there are")
    length = tuple(options.length or lengths_of(words))
    perplexity = None if options.perplexity is None else tuple(options.perplexity)
    switches = {name: name not in options.keep for name in _REASONS}
    return FilterSettings(
        length=None if length == (0, 0) else length, perplexity=perplexity, **switches
    )


def _counted(counts: Any) -> str:
    rejected = ", ".join(f"{name} {n}" for name, n in counts.items() if name != "accepted" and n)
    return (
        f"{counts['accepted']} of {sum(counts.values())} accepted; rejected: {rejected or 'none'}"
    )
