"""A trained teacher, whose posteriors are peaked, on real sentences: where `pruned` pays off."""

import argparse
import functools
import operator
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.timing import Machine, alternate, square_product, warm_up
from benchmarks.common.workload import Trained, with_made_up_labels
from benchmarks.decoding.throughput import (
    choose_attention,
    decoder_of,
    patience_of,
    row_of,
    shares,
    work_of,
)
from distill_jax.labels.store import write_store
from distill_jax.sentscore import DecoderSettings, make_decoder, posteriors
from distill_jax.tagger import Tagger

_DECODERS = ("greedy", "sentscore", "sentscore-trie", "pruned")


def rates(
    trained: Trained, peers: Any, machine: Machine, batch_size: int, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Sentences a second of the decoders here and of constrained generate (unless `peers` is None)."""
    decoders = {name: decoder_of(trained.model, trained.labels, name) for name in _DECODERS}
    functions: dict[str, Callable[[], Any]] = {
        name: functools.partial(_decode_all, decoder, trained) for name, decoder in decoders.items()
    }
    if peers is not None:
        choose_attention(peers, trained.batches[-1], trained.labels, options.attention)
        functions["hf-generate"] = functools.partial(_generate_all, peers, trained)
    product, operations = square_product(machine.square, trained.model.t5.config.dtype)
    warm_up(functions | {"": product})
    timings = alternate(functions | {"": product}, patience_of(options))
    matrix_flops = operations / timings.pop("").median
    found = []
    for name, timing in timings.items():
        row = row_of(trained.labels.name, batch_size, name, timing, trained.num_sentences)
        # What generate writes is what `greedy` does.
        decoder = decoders.get(name, decoders["greedy"])
        works = [
            work_of(
                name,
                trained.model,
                trained.labels,
                batch,
                np.asarray(decoder(trained.model.params, batch).tags),
            )
            for batch in trained.batches
        ]
        work = functools.reduce(operator.add, works)
        found.append(row | shares(work, timing.median, matrix_flops, machine))
    return found


def labelling(
    directory: str, trained: Trained, batch_size: int, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Sentences a second of `distill-jax label` and of the decoder alone, on the same sentences.

    Labelling is from words to a finished store, compilation and loading left out.
    """
    tagger = Tagger.load(directory, batch_size=batch_size, dtype=options.dtype)
    tagger.warm_up([sentence.words for sentence in trained.sentences])
    settings = DecoderSettings(normaliser=tagger.settings.normaliser)
    decoder = make_decoder(trained.model.t5, trained.labels.trie, settings)

    def label() -> None:
        with tempfile.TemporaryDirectory() as folder:
            write_store(
                Path(folder) / "store",
                trained.sentences,
                tagger.labels,
                tagger.label,
                settings={"decoder": tagger.decoder},
            )

    functions = {"sentscore": functools.partial(_decode_all, decoder, trained), "label": label}
    warm_up(functions)
    timings = alternate(functions, patience_of(options))
    return [
        row_of(trained.labels.name, batch_size, name, timing, trained.num_sentences)
        for name, timing in timings.items()
    ]


def growth(trained: Trained, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The time of `pruned` with few tags, with the teacher's, and with made-up ones besides."""
    label_sets = (
        trained.most_frequent,
        trained.labels,
        with_made_up_labels(trained, options.most_tags),
    )
    functions = {
        labels.name: functools.partial(
            _decode_all, decoder_of(trained.model, labels, "pruned"), trained
        )
        for labels in label_sets
    }
    warm_up(functions)
    timings = alternate(functions, patience_of(options))
    batch_size = max(len(batch.num_words) for batch in trained.batches)
    return [
        {"tags": len(labels.tags), "nodes": labels.trie.num_nodes}
        | row_of(labels.name, batch_size, "pruned", timings[labels.name], trained.num_sentences)
        for labels in label_sets
    ]


def compare_pruned(trained: Trained) -> dict[str, Any]:
    """How peaked the teacher is, and how far `pruned` is from `sentscore`, in words and posteriors."""
    exactly = decoder_of(trained.model, trained.labels, "sentscore")
    pruning = decoder_of(trained.model, trained.labels, "pruned")
    words, different = 0, 0
    tops, worst, unexplored = [], 0.0, 0.0
    for batch in trained.batches:
        full, pruned = (decode(trained.model.params, batch) for decode in (exactly, pruning))
        tags, kept = np.asarray(full.tags), np.asarray(pruned.tags)
        inside = np.arange(tags.shape[1]) < np.asarray(batch.num_words)[:, None]
        changed = (tags != kept) & inside
        # Behind another tag everything differs: compare up to there.
        same = inside & (np.cumsum(changed, axis=1) - changed == 0)
        exact = np.asarray(posteriors(full.log_likelihoods))
        found = np.asarray(posteriors(pruned.log_likelihoods))
        words, different = words + int(inside.sum()), different + int((changed & same).sum())
        tops.append(exact.max(-1)[inside])
        worst = max(worst, float(np.abs(exact - found)[same].max()))
        if pruned.unexplored is not None:
            unexplored = max(unexplored, float(np.asarray(pruned.unexplored)[inside].max()))
    top = np.concatenate(tops)
    return {
        "words": words,
        "different_tags": different,
        "worst_posterior_error": worst,
        "most_unexplored": unexplored,
        "mean_top_posterior": float(top.mean()),
        "share_above_0.99": float((top > 0.99).mean()),
    }


def _decode_all(decoder: Any, trained: Trained) -> list[Any]:
    return [decoder(trained.model.params, batch) for batch in trained.batches]


def _generate_all(peers: Any, trained: Trained) -> list[np.ndarray]:
    return [peers.generate(batch, trained.labels.tags) for batch in trained.batches]
