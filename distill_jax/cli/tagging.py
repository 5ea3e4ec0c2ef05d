"""`distill-jax predict`: sentences tagged for users."""

import argparse
import json
import sys
from collections.abc import Iterable
from typing import Any

from distill_jax.cli.decoder_options import (
    add_model_options,
    add_warmup_option,
    decoder_of,
    load_exported,
    load_tagger,
    warm_up,
)
from distill_jax.cli.given import check_inputs
from distill_jax.cli.input_options import (
    add_input_options,
    add_strict_option,
    as_model_reads,
    read_options,
)
from distill_jax.cli.output import (
    check_local_options,
    check_output_options,
    progress,
    text_output,
)
from distill_jax.errors import UserError
from distill_jax_runtime.directory import is_exported

CHUNK = 2048
"""Sentences read, tagged and written together: enough to fill batches of similar length. Of a pipe fewer,
if no more have come."""


def add_commands(commands: Any) -> None:
    """Adds the commands of this module to the parser."""
    predict = commands.add_parser("predict", help="tags sentences: one JSON object a line")
    add_model_options(predict)
    add_warmup_option(predict)
    predict.add_argument(
        "--input", required=True, metavar="FILE", help="columns, JSON or text; - is standard input"
    )
    predict.add_argument(
        "--output", required=True, metavar="FILE", help="JSON lines; - is standard output"
    )
    predict.add_argument(
        "--posteriors", action="store_true", help="write every word's distribution over tags too"
    )
    predict.add_argument(
        "--top_k",
        type=int,
        metavar="K",
        help="write every word's K most probable tags too, and the mass of the others; a label's name stands "
        "for the word that begins its span, I for one that goes on with the span before it",
    )
    add_strict_option(predict)
    add_input_options(predict)
    predict.set_defaults(run=_predict)


def _predict(options: argparse.Namespace) -> None:
    from distill_jax.data.chunks import chunks, chunks_as_they_come
    from distill_jax.data.readers import comes_bit_by_bit, read_located, source_name
    from distill_jax.sent.truncation import TruncatedWords

    check_local_options(options, "model", "input", "output")
    if options.top_k is not None and options.top_k < 1:
        raise UserError(f"--top_k is {options.top_k}; ask for at least 1 tag")
    wanted = [f"--{name}" for name in ("posteriors", "top_k") if getattr(options, name)]
    check_output_options(options, "output", inputs=["input"])
    if not decoder_of(options):
        check_inputs([options.input])
    reading = read_options(options)
    if is_exported(options.model):
        # It need not read 350,000 words' vectors for the few that it meets.
        tagger = load_exported(options, mapped=True)
    else:
        tagger = load_tagger(options, posteriors_for=wanted[0] if wanted else None)
    located = read_located(options.input, options=as_model_reads(reading, tagger.settings))
    split = chunks_as_they_come if comes_bit_by_bit(options.input) else chunks
    parts: Iterable[list[Any]] = split(located, CHUNK)
    if options.warmup:
        parts = list(parts)
        warm_up(tagger, [[one.sentence.words for one in part] for part in parts], say=True)
    name = source_name(options.input)
    truncated, empty = TruncatedWords(tagger.truncated_words, strict=options.strict), 0
    with text_output(options.output) as file, progress("predict") as advance:
        for part in parts:
            for line, sentence, _ in part:
                truncated.add(sentence.words, f"{name}:{line}")
                empty += not sentence.words
            answers = tagger.predict([one.sentence for one in part], advance)
            for one, tagged in zip(part, answers, strict=True):
                record = tagged.to_json(posteriors=options.posteriors, top_k=options.top_k)
                if one.identity is not None:
                    record = {"id": one.identity, **record}
                file.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
            file.flush()  # somebody may wait for the answer before the next line is written
    said = truncated.lines()
    if empty:
        said.insert(0, f"{name}: sentences without words: {empty}")
    for text in said:
        print(text, file=sys.stderr)
