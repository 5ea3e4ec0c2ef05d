"""An exported BiLSTM under onnxruntime beside the same model under JAX, and beside peers, on one core.

    python benchmarks/serving/runtime.py --json runtime.json
    python benchmarks/serving/runtime.py --model DIR --data FILE --bert DIR --json runtime.json

From words (spaCy: a `Doc` of them) to tags, spans and posteriors: one sentence after another, each alone
(median and 99th percentile), and all of them 32 at a time, in turns. Then the whole process of
`distill-jax predict` for one sentence, cold, with its peak memory. Without `--model` the BiLSTM has the
paper's sizes (0.8M parameters) and random weights, and reads the embedded data; `--bert` is a model
directory of a BERT (MiniLM, say), as it is and exported with `--int8`. spaCy's `ner` has random weights,
which cost what trained ones do.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a file: what is imported from is the checkout
    sys.path[0] = str(Path(__file__).resolve().parents[2])
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # before JAX counts the cores

import jax
import numpy as np
import onnxruntime
from flax import linen as nn
from rich.console import Console
from rich.table import Table

from benchmarks.common.tables import at_least, at_most
from distill_jax import Tagger
from distill_jax.data import demo
from distill_jax.data.readers import read_sentences
from distill_jax.export.directory import export_onnx
from distill_jax.export.measuring import graph_bytes
from distill_jax.files import write_json
from distill_jax.kinds.base import Model
from distill_jax.model_dir.directory import load_model, save_model
from distill_jax.models.bilstm import BiLSTMConfig, BiLSTMTagger
from distill_jax.runtime import Tagger as RuntimeTagger
from distill_jax.sent.subwords import SubwordFormat
from distill_jax.vocab import WordVocabulary
from distill_jax_runtime.graphs import open_graph
from distill_jax_runtime.legal import constrained_tags

BATCH = 32
Words = Sequence[str]
Tag = Callable[[Sequence[Words]], Any]
"""Tags sentences, at most 32 at a time."""


def random_model(directory: Path) -> None:
    """The paper's BiLSTM with random weights."""
    vocabulary = WordVocabulary.build(one.words for one in demo.generate("train", 2000))
    config = BiLSTMConfig(
        num_words=vocabulary.num_words,
        num_chars=vocabulary.num_chars,
        num_tags=demo.LABELS.num_tags,
    )
    params = nn.unbox(BiLSTMTagger(config).initial(jax.random.key(0)))
    save_model(directory, Model(config, params, vocabulary, demo.LABELS))


def bert_tagger(model_dir: Path, folder: Path) -> Tag:
    """A BERT in int8 under onnxruntime, with the same decoding."""
    export_onnx(model_dir, folder, int8=True)
    model = load_model(model_dir)
    subwords = SubwordFormat(model.vocabulary)
    graph = open_graph(folder / "model.onnx")

    def tag(sentences: Sequence[Words]) -> Any:
        found = []
        order = sorted(sentences, key=len)
        for start in range(0, len(order), BATCH):
            pieces = [subwords.encode(words) for words in order[start : start + BATCH]]
            longest = max(len(ids) for ids, _ in pieces)
            tokens = np.full((len(pieces), longest), subwords.pad_id, np.int32)
            first = np.full((len(pieces), max(len(at) for _, at in pieces)), -1, np.int32)
            for row, (ids, at) in enumerate(pieces):
                tokens[row, : len(ids)], first[row, : len(at)] = ids, at
            inputs = {"tokens": tokens, "first": first}
            scores = graph.run(["log_probabilities"], inputs)[0][first >= 0]
            found.append(constrained_tags(scores, [len(at) for _, at in pieces]))
        return found

    return tag


def spacy_tagger(labels: Sequence[str]) -> Tag:
    """spaCy's `ner` on a blank pipeline; the sentences are given as `Doc`s of their words."""
    import spacy
    from spacy.tokens import Doc

    nlp = spacy.blank("en")
    ner = nlp.add_pipe("ner")
    for label in labels:
        ner.add_label(label)
    nlp.initialize()

    def tag(sentences: Sequence[Words]) -> Any:
        docs = (Doc(nlp.vocab, list(words)) for words in sentences)
        return [doc.ents for doc in nlp.pipe(docs, batch_size=BATCH)]

    return tag


def timed(taggers: dict[str, Tag], sentences: Sequence[Words], rounds: int) -> dict[str, Any]:
    """Milliseconds of one sentence, and sentences a second together; all taggers in turns."""
    ones: dict[str, list[float]] = {name: [] for name in taggers}
    rates: dict[str, list[float]] = {name: [] for name in taggers}
    for turn in range(rounds + 1):  # the first compiles and warms up
        for name, tag in taggers.items():
            for words in sentences:
                start = time.perf_counter()
                tag([words])
                took = time.perf_counter() - start
                if turn:
                    ones[name].append(1e3 * took)
            start = time.perf_counter()
            tag(sentences)
            if turn:
                rates[name].append(len(sentences) / (time.perf_counter() - start))
    return {
        name: {
            "one_ms": float(np.median(ones[name])),
            "one_ms_p99": float(np.percentile(ones[name], 99)),
            "sentences_per_second": float(np.median(rates[name])),
        }
        for name in taggers
    }


def cold(directory: Path, repeats: int) -> dict[str, float]:
    """Seconds and peak memory of `predict` on one sentence, best of some."""
    text = directory.parent / "one.txt"
    text.write_text("play some jazz\n")
    program = [sys.executable, "-m", "distill_jax", "predict", "--model", str(directory)]
    command = [*program, "--input", str(text), "--output", os.devnull]
    found = [
        json.loads(subprocess.check_output([sys.executable, "-I", "-S", "-c", _CHILD, *command]))
        for _ in range(repeats)
    ]
    return {
        "seconds": min(seconds for seconds, _ in found),
        "peak_mib": max(peak for _, peak in found) / 1024,
    }


_CHILD = """
import json, os, resource, subprocess, sys, time
start = time.perf_counter()
subprocess.run(sys.argv[1:], check=True)
seconds = time.perf_counter() - start
print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]))
"""
# A process between: Linux counts towards a child's peak what its parent had when it was made.


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    model = Path(options.model) if options.model else folder / "model"
    if not options.model:
        random_model(model)
    sentences = [
        sentence.words
        for sentence in (
            read_sentences(options.data) if options.data else demo.generate("test", 700)
        )
        if sentence.words
    ][: options.sentences]
    export_onnx(model, folder / "float32")
    export_onnx(model, folder / "int8", int8=True)
    ours = Tagger.load(model, batch_size=BATCH)
    taggers: dict[str, Tag] = {
        "runtime": RuntimeTagger.load(folder / "float32", batch_size=BATCH).predict,
        "runtime, int8": RuntimeTagger.load(folder / "int8", batch_size=BATCH).predict,
        "JAX": ours.predict,
    }
    skipped = []
    if options.bert:
        taggers["BERT, JAX"] = Tagger.load(options.bert, batch_size=BATCH).predict
        taggers["BERT, int8"] = bert_tagger(Path(options.bert), folder / "bert")
    else:
        skipped.append("a BERT: give its model directory as --bert")
    try:
        taggers["spaCy ner"] = spacy_tagger(ours.labels.names)
    except ImportError:
        skipped.append("spaCy is not installed (pip install spacy)")
    results: dict[str, Any] = {
        "parameters": ours.parameters,
        "sentences": len(sentences),
        "words": sum(map(len, sentences)),
        "versions": {"jax": jax.__version__, "onnxruntime": onnxruntime.__version__},
        "taggers": timed(taggers, sentences, options.rounds),
        "bytes": {name: graph_bytes(folder / name) for name in ("float32", "int8")},
        "cold": cold(folder / "float32", options.rounds),
        "skipped": skipped,
    }
    return results | {"targets": targets(results)}


def targets(results: dict[str, Any]) -> list[dict[str, Any]]:
    """What was aimed at."""
    found = results["taggers"]
    rows = []
    for name in ("runtime", "runtime, int8"):
        own = found[name]
        rows += [
            at_most(f"{name}: one sentence, ms", own["one_ms"], 0.3),
            at_most(f"{name}: 99th percentile, ms", own["one_ms_p99"], 1.0),
            at_least(f"{name}: sentences/s", own["sentences_per_second"], 5000),
        ]
        peers = (("JAX", 3.0), ("BERT, JAX", 20.0), ("BERT, int8", 15.0), ("spaCy ner", 3.0))
        for peer, wanted in peers:
            if peer in found:
                times = own["sentences_per_second"] / found[peer]["sentences_per_second"]
                rows.append(at_least(f"{name}: times as many as {peer}", times, wanted))
    size = results["bytes"]["int8"] / results["bytes"]["float32"]
    return [
        *rows,
        at_most("int8: share of the bytes", size, 1 / 3),
        at_most("predict, cold: seconds", results["cold"]["seconds"], 0.4),
        at_most("predict, cold: MiB", results["cold"]["peak_mib"], 120),
    ]


def show(results: dict[str, Any]) -> None:
    """Prints everything measured."""
    console = Console()
    console.print(
        f"{results['parameters']:,} parameters; {results['sentences']} sentences of "
        f"{results['words'] / results['sentences']:.1f} words; one core; {results['versions']}"
    )
    table = Table(
        "tagger", "one sentence, ms", "99th percentile", f"sentences/s, {BATCH} at a time"
    )
    for name, row in results["taggers"].items():
        numbers = (f"{row['one_ms']:.3f}", f"{row['one_ms_p99']:.3f}")
        table.add_row(name, *numbers, f"{row['sentences_per_second']:,.0f}")
    console.print(table)
    for line in results["skipped"]:
        console.print(f"skipped: {line}")
    table = Table("what", "value", "target", "")
    for row in results["targets"]:
        target = f"{row['bound']} {row['target']:.3g}"
        table.add_row(row["what"], f"{row['value']:.3g}", target, "met" if row["met"] else "missed")
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", metavar="DIR", help="of a BiLSTM; default: random weights")
    parser.add_argument("--data", metavar="FILE", help="sentences; default: the embedded data")
    parser.add_argument("--bert", metavar="DIR", help="of a BERT to compare with")
    parser.add_argument("--sentences", type=int, default=700, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--json", metavar="FILE", help="where to write all of it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = measure(options, Path(folder))
    show(results)
    if options.json:
        write_json(options.json, json.loads(json.dumps(results)))


if __name__ == "__main__":
    main()
