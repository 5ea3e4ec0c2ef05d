"""`distill-jax evaluate`: how well a model tags, how well it knows, how fast it is."""

import argparse
import itertools
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distill_jax.cli.decoder_options import (
    add_model_options,
    add_warmup_option,
    decoder_of,
    load_any,
    positive,
    warm_up,
)
from distill_jax.cli.given import check_inputs, check_tasks
from distill_jax.cli.gold_data import Part, check_either, figures_of_parts, gold_parts
from distill_jax.cli.input_options import add_input_options, as_model_reads, read_options
from distill_jax.cli.output import check_file, check_local_options, check_output_options, progress
from distill_jax.errors import UserError
from distill_jax_runtime.directory import is_exported


def add_commands(commands: Any) -> None:
    """Adds the commands of this module to the parser."""
    evaluate = commands.add_parser("evaluate", help="all metrics of a model on tagged sentences")
    add_model_options(evaluate, required=False)
    evaluate.add_argument(
        "--predictions",
        metavar="FILE",
        help="in place of --model: tags of the same sentences, such as predict has written",
    )
    add_warmup_option(evaluate)
    evaluate.add_argument(
        "--data",
        nargs="+",
        metavar="FILE",
        help="tagged sentences; of several files (languages, say) F1 is shown for each, and the mean",
    )
    evaluate.add_argument(
        "--task", nargs="+", metavar="NAME", help="in place of --data: SeqIO tasks, one or several"
    )
    evaluate.add_argument("--split", metavar="SPLIT", help="of the tasks; default: test")
    evaluate.add_argument("--data_dir", metavar="DIR", help="where tasks look for their files")
    evaluate.add_argument("--json", metavar="FILE", help="write the metrics as JSON as well")
    evaluate.add_argument(
        "--reliability",
        metavar="FILE",
        help="draw accuracy against confidence, as a PNG (needs the extra `plot`)",
    )
    evaluate.add_argument(
        "--html",
        metavar="FILE",
        help="write a page with all figures, the confusion between labels, the reliability diagram "
        "and the sentences tagged wrongly",
    )
    evaluate.add_argument(
        "--against",
        metavar="DIR",
        help="a second model, such as the teacher: the page of --html sets it beside the first and "
        "shows the sentences that the two tag differently",
    )
    evaluate.add_argument(
        "--html_sentences",
        type=positive,
        default=100,
        metavar="N",
        help="how many sentences of a kind the page shows at most; default: %(default)s",
    )
    evaluate.add_argument(
        "--fit_temperature",
        action="store_true",
        help="find the temperature that suits these data best and keep it in the model directory; "
        "give dev data, not test data",
    )
    add_input_options(evaluate)
    evaluate.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace) -> None:
    paths = ("model", "data", "predictions", "json", "html", "reliability", "against", "data_dir")
    check_local_options(options, *paths)
    check_output_options(options, "json", "html", "reliability", inputs=["data", "predictions"])
    if (options.model is None) == (options.predictions is None):
        raise UserError("evaluate needs --model DIR, or --predictions FILE in its place")
    if options.predictions is not None:
        _evaluate_predictions(options)
        return
    if options.reliability:
        from distill_jax.report.plots import check_plotting

        check_plotting()
    if options.fit_temperature:
        _check_fit(options)
    if options.against and not options.html:
        raise UserError("--against is shown on the page of --html alone; add --html FILE")
    check_either(options)
    if not decoder_of(options):
        check_inputs(options.data or ())
        check_tasks(options.task or (), options.data_dir)
    reading = read_options(options)
    tagger = load_any(options, posteriors_for=_needs_posteriors(options))
    parts = gold_parts(options, as_model_reads(reading, tagger.settings))
    sentences = [sentence for part in parts for sentence in part.sentences]
    other = _other(options)
    predictions, result = _measured(options, tagger, parts)
    if options.fit_temperature:
        result |= _fit(options.model, tagger, sentences, predictions, result)
    if options.html:
        _write_page(options, parts, (tagger, predictions, result), other)
    _report(options, result)


def _evaluate_predictions(options: argparse.Namespace) -> None:
    """The figures that tags alone have."""
    from distill_jax.data.aligned import read_aligned
    from distill_jax.inference.evaluation import evaluate_tags

    needing = ("html", "reliability", "against", "fit_temperature", "warmup")
    decoding = ("decoder", "beam", "normaliser", "epsilon", "dtype")
    for name in (*needing, *decoding):
        if getattr(options, name):
            raise UserError(f"--{name} needs a model; give --model DIR in place of --predictions")
    if options.task or len(options.data or ()) != 1:
        raise UserError("--predictions are of the sentences of one file; give one --data FILE")
    [data] = options.data
    gold, predicted = read_aligned(data, options.predictions, read_options(options))
    if not gold:
        raise UserError(f"{data}: holds no sentences; give tagged sentences to evaluate on")
    _report(options, evaluate_tags(gold, predicted))


def _other(options: argparse.Namespace) -> Any:
    """The tagger of `--against`, under the decoder it was saved with; None without the option."""
    if not options.against:
        return None
    if is_exported(options.against):
        from distill_jax.export.tagger import ExportedTagger
        from distill_jax.runtime import Tagger as RuntimeTagger

        tagger = RuntimeTagger.load(options.against, batch_size=options.batch_size)
        return ExportedTagger(options.against, tagger)
    from distill_jax.tagger import Tagger

    return Tagger.load(options.against, batch_size=options.batch_size)


def _measured(
    options: argparse.Namespace, tagger: Any, parts: Sequence[Part]
) -> tuple[list[Any], dict[str, Any]]:
    """What the decoder finds, before calibration, and all figures: of all parts, and of each of several."""
    from distill_jax.sent.truncation import TruncatedWords

    sentences = [sentence for part in parts for sentence in part.sentences]
    words = [sentence.words for sentence in sentences]
    truncated = TruncatedWords(tagger.truncated_words)
    for part in parts:
        for number, sentence in enumerate(part.sentences, 1):
            truncated.add(sentence.words, f"{part.name}: sentence {number}")
    print("".join(f"{line}\n" for line in truncated.lines()), end="", file=sys.stderr)
    compiling = warm_up(tagger, [words], say=options.warmup)
    with progress("evaluate", len(words)) as advance:
        start = time.monotonic()
        predictions = tagger.decode(words, advance)
        seconds = time.monotonic() - start
    result = _figures(tagger, sentences, predictions)
    if len(parts) > 1:
        ends = list(itertools.accumulate(len(part.sentences) for part in parts))
        own = [
            _figures(tagger, sentences[start:end], predictions[start:end])
            for start, end in zip([0, *ends], ends, strict=False)
        ]
        result |= figures_of_parts(parts, own)
    result |= {
        "parameters": tagger.parameters,
        "sentences_per_second": len(words) / seconds,
        "decoder": tagger.decoder,
        "temperature": tagger.settings.temperature,
    }
    if tagger.frozen_parameters:
        result["frozen_parameters"] = tagger.frozen_parameters
    if options.warmup:
        result["warmup_seconds"] = compiling
    return predictions, result


def _write_page(
    options: argparse.Namespace,
    parts: Sequence[Part],
    evaluated: tuple[Any, list[Any], dict[str, Any]],
    other: Any,
) -> None:
    from distill_jax.files import write_text
    from distill_jax.report.cases import Evaluated
    from distill_jax.report.evaluation import evaluation_page

    models = [(options.model, *evaluated)]
    if other is not None:
        models.append((options.against, other, *_measured(options, other, parts)))
    text = evaluation_page(
        ", ".join(part.name for part in parts),
        [sentence for part in parts for sentence in part.sentences],
        [
            # At the temperature that was fitted, if one was.
            Evaluated(path, tagger.labels, [tagger.calibrated(one) for one in predictions], result)
            for path, tagger, predictions, result in models
        ],
        examples=options.html_sentences,
    )
    write_text(options.html, text)


def _report(options: argparse.Namespace, result: dict[str, Any]) -> None:
    from distill_jax.files import write_text
    from distill_jax.report.summary import print_evaluation

    # The files first: printing ends the command where the reader of its output has gone.
    if options.json:
        write_text(options.json, json.dumps(result, indent=2, allow_nan=False) + "\n")
    if options.reliability:
        from distill_jax.report.plots import draw_reliability

        draw_reliability(result, options.reliability)
    print_evaluation(result)


def _needs_posteriors(options: argparse.Namespace) -> str | None:
    for name in ("fit_temperature", "reliability"):
        if getattr(options, name):
            return f"--{name}"
    return None


def _figures(tagger: Any, sentences: Sequence[Any], predictions: Sequence[Any]) -> dict[str, Any]:
    """The metrics at the tagger's temperature."""
    from distill_jax.inference import evaluate

    return evaluate(tagger.labels, sentences, [tagger.calibrated(one) for one in predictions])


def _check_fit(options: argparse.Namespace) -> None:
    if options.decoder == "pruned":
        raise UserError(
            "--fit_temperature needs the scores of all tags, and --decoder pruned leaves some out; "
            "fit with sentscore: the temperature is that of pruned as well"
        )
    if (options.beam or 1) > 1 or options.normaliser is not None:
        raise UserError(
            "--fit_temperature stores the temperature that the model has without options; leave out "
            "--normaliser and --beam, whose scores may be others"
        )
    from distill_jax.model_dir.settings import TAGGER

    check_file(Path(options.model) / TAGGER)


def _fit(
    model: str,
    tagger: Any,
    sentences: Sequence[Any],
    predictions: Sequence[Any],
    before: dict[str, Any],
) -> dict[str, Any]:
    """Fits and stores the temperature; the metrics with it, and `temperature_fit`."""
    from distill_jax.jobs.calibration import fitted_temperature
    from distill_jax.model_dir.settings import write_temperature

    old = tagger.settings.temperature
    tagger.set_temperature(fitted_temperature(tagger, sentences, predictions))
    write_temperature(Path(model), tagger.settings.temperature)
    after = _figures(tagger, sentences, predictions)
    names = ("nll", "ece", "brier")
    return after | {
        "temperature": tagger.settings.temperature,
        "temperature_fit": {
            "before": {"temperature": old, **{name: before[name] for name in names}},
            "after": {
                "temperature": tagger.settings.temperature,
                **{name: after[name] for name in names},
            },
        },
    }
