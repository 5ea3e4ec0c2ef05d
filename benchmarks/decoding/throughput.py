"""Every algorithm, here and in transformers, on one batch of random sentences with one label set."""

import argparse
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks.common.timing import Machine, Patience, Timing, alternate, square_product, warm_up
from benchmarks.common.workload import Labels, Model
from benchmarks.decoding import checks
from benchmarks.decoding.work import Count, Work
from distill_jax.sentscore import DecoderSettings, SentScoreBatch, make_decoder, score

EPSILON = 1e-4
BEAM = 4
SETTINGS = {
    "greedy": DecoderSettings("greedy"),
    "sentscore": DecoderSettings(),
    "sentscore-trie": DecoderSettings(normaliser="trie"),
    "pruned": DecoderSettings("pruned", epsilon=EPSILON),
    "beam": DecoderSettings(beam=BEAM),
}
OURS = (*SETTINGS, "score")
PEERS = ("hf-generate", "hf-generate-bf16", "hf-cached", "hf-uncached", "hf-uncached-lean")
"""In transformers: constrained generate; SenTScore tag by tag, with and without a cache of the prefix;
the last multiplies with the output embedding only where needed, as `model(...)` cannot."""

Say = Callable[[str], None]


def decoder_of(model: Model, labels: Labels, name: str) -> Any:
    """The decoder of `SETTINGS` with that name."""
    return make_decoder(model.t5, labels.trie, SETTINGS[name])


def patience_of(options: argparse.Namespace) -> Patience:
    """As asked for on the command line."""
    return Patience(options.rounds, options.least_seconds)


def choose_attention(peers: Any, batch: SentScoreBatch, labels: Labels, setting: str) -> str:
    """Switches a peer to the setting, or to whichever is faster for this batch, and says which."""
    if setting == "faster":
        best: dict[str, float] = {}
        for attention in ("eager", "sdpa"):
            peers.use_attention(attention)
            calls = {"": functools.partial(peers.generate, batch, labels.tags)}
            warm_up(calls)
            best[attention] = alternate(calls, Patience(2, 0.0, 5.0))[""].best
        setting = min(best, key=lambda name: best[name])
    peers.use_attention(setting)
    return setting


def row_of(labels: str, batch: int, name: str, timing: Timing, sentences: int) -> dict[str, Any]:
    """One line of a table."""
    return {
        "label_set": labels,
        "batch": batch,
        "algorithm": name,
        "by": "transformers" if name in PEERS else "distill_jax",
        "seconds": timing.median,
        "best_seconds": timing.best,
        "repetitions": len(timing.seconds),
        "sentences_per_second": sentences / timing.median,
        "extrapolated": False,
    }


class Throughput:
    """All algorithms on one batch with one label set."""

    def __init__(
        self,
        options: argparse.Namespace,
        say: Say,
        machine: Machine,
        labels: Labels,
        batch: SentScoreBatch,
        model: Model,
        peers: Any,
        half: Any,
    ) -> None:
        self._options, self._say, self._machine = options, say, machine
        self._labels, self._batch, self._model = labels, batch, model
        self._peers, self._half = peers, half
        self._size = len(batch.num_words)
        self._wanted = options.algorithms
        self._patience = patience_of(options)
        self.agreement: list[dict[str, Any]] = []

    def rows(self) -> list[dict[str, Any]]:
        """What was measured, an algorithm a row."""
        say = self._say
        say(f"{self._labels.name} labels, batch {self._size}")
        decoders = {name: decoder_of(self._model, self._labels, name) for name in SETTINGS}
        params, batch = self._model.params, self._batch
        # SenTScore's own tags are what `score` and the peer without a cache are given.
        result = decoders["sentscore"](params, batch)
        tags, u = np.asarray(result.tags), np.asarray(result.log_likelihoods)
        functions: dict[str, Callable[[], Any]] = {
            name: functools.partial(decoder, params, batch)
            for name, decoder in decoders.items()
            if name in self._wanted
        }
        if "score" in self._wanted:
            forced = _scorer(self._model, self._labels)
            functions["score"] = functools.partial(forced, params, batch, tags)
        chosen = {"attention": ""}
        if self._peers is not None:
            chosen["attention"] = choose_attention(
                self._peers, batch, self._labels, self._options.attention
            )
            if self._half is not None:
                self._half.use_attention(chosen["attention"])
            functions |= self._peer_functions()
        # Comparing runs the slowest once: that is enough to warm it up.
        warm_up({name: function for name, function in functions.items() if name != "hf-cached"})
        if self._peers is not None:
            say("agreement with transformers")
            self._check_peers(tags, u)
        say(f"timing {', '.join(functions)}")
        machine = self._machine
        product, operations = square_product(machine.square, self._model.t5.config.dtype)
        product()
        timings = alternate(functions | {"": product}, self._patience)
        # The rate while all this was timed, whatever else the machine had to do then.
        matrix_flops = operations / timings.pop("").median
        found = {
            name: row_of(self._labels.name, self._size, name, timing, self._size)
            | (chosen if name in PEERS else {})
            for name, timing in timings.items()
        }
        if self._peers is not None:
            for name in ("hf-uncached", "hf-uncached-lean"):
                if name in self._wanted:
                    found[name] = self._uncached(name, tags, u) | chosen
        greedy = self._greedy_tags(tags)
        for name, row in found.items():
            written = greedy if name in ("greedy", "hf-generate") else tags
            work = work_of(name, self._model, self._labels, batch, written)
            row |= shares(work, row["seconds"], matrix_flops, machine)
        return list(found.values())

    def _peer_functions(self) -> dict[str, Callable[[], Any]]:
        tags = self._labels.tags
        functions: dict[str, Callable[[], Any]] = {}
        if "hf-generate" in self._wanted:
            functions["hf-generate"] = functools.partial(self._peers.generate, self._batch, tags)
        if self._half is not None:
            functions["hf-generate-bf16"] = functools.partial(
                self._half.generate, self._batch, tags
            )
        if "hf-cached" in self._wanted:
            functions["hf-cached"] = functools.partial(
                self._peers.sentscore_cached, self._batch, tags
            )
        return functions

    def _check_peers(self, tags_BxL: np.ndarray, u_BxLxK: np.ndarray) -> None:
        """Whether the peers do the same job; the cache makes it affordable for all words."""
        place = {"label_set": self._labels.name, "batch": self._size}
        if "hf-cached" in self._wanted:
            theirs, scores = self._peers.sentscore_cached(self._batch, self._labels.tags)
            # Behind another tag, chosen at a tie, everything differs: compare up to there.
            same = np.cumsum(theirs != tags_BxL, axis=1) - (theirs != tags_BxL) == 0
            compared = checks.compare_scores(tags_BxL[same], u_BxLxK[same], scores[same])
            self.agreement.append({"what": "sentscore, hf-cached"} | place | compared)
        if "hf-generate" in self._wanted and "greedy" in self._wanted:
            ours = np.asarray(self._greedy_tags(tags_BxL))
            theirs = self._peers.generate_tags(self._batch, self._labels.tags)
            self.agreement.append(
                {"what": "greedy, hf-generate"} | place | self._compare_greedy(ours, theirs)
            )

    def _compare_greedy(self, ours: np.ndarray, theirs: np.ndarray) -> dict[str, int]:
        marks = np.asarray(self._batch.sentinel_ids).tolist()
        tags = self._labels.tags
        ties, different = 0, 0
        for row in np.flatnonzero((ours != theirs).any(1)).tolist():
            word = int(np.flatnonzero(ours[row] != theirs[row])[0])
            before = [self._model.t5.config.decoder_start_id, marks[0]]
            for tag, mark in zip(ours[row, :word].tolist(), marks[1:], strict=False):
                before += [*tags[tag], mark]
            mine, other = (
                [*tags[int(found[row, word])], marks[word + 1]] for found in (ours, theirs)
            )
            shared = next(i for i, (a, b) in enumerate(zip(mine, other, strict=False)) if a != b)
            logits = self._peers.next_token_logits(self._batch, row, before + mine[:shared])
            tie = abs(float(logits[mine[shared]] - logits[other[shared]])) < checks.TIE
            ties, different = ties + tie, different + (not tie)
        return {"sentences": len(ours), "ties": ties, "different_sentences": different}

    def _uncached(self, name: str, tags_BxL: np.ndarray, u_BxLxK: np.ndarray) -> dict[str, Any]:
        """Times some words and tags of SenTScore without a cache; the rest is interpolated.

        The time of a word is linear in the length of its prefix but for attention, and that of a
        tag grows with its tokens: words at both ends and in the middle, tags spread over all lengths.
        """
        self._say(f"timing {name}, some words and tags")
        options, tags = self._options, self._labels.tags
        by_length = sorted(range(len(tags)), key=lambda tag: len(tags[tag]))
        places = np.linspace(0, len(tags) - 1, min(len(tags), options.most_timed_tags))
        which = [by_length[place] for place in places.round().astype(int)]
        words = sorted({0, options.words // 2, options.words - 1})
        lean = name.endswith("lean")
        encoded = self._peers.encode(self._batch)

        def score_word(word: int) -> np.ndarray:
            found: np.ndarray = self._peers.score_word(
                encoded,
                self._batch,
                tags,
                tags_BxL[:, :word],
                which=which,
                needed_logits_only=lean,
            )
            return found

        worst = max(
            checks.compare_scores(
                np.zeros(self._size, np.int32), u_BxLxK[:, word][:, which], score_word(word)
            )["worst_relative_error"]
            for word in words
        )
        self.agreement.append(
            {"what": f"sentscore, {name}", "label_set": self._labels.name, "batch": self._size}
            | {"words": len(words) * self._size, "worst_relative_error": worst}
        )
        functions: dict[str, Callable[[], Any]] = {
            str(word): functools.partial(score_word, word) for word in words
        }
        functions["encoder"] = functools.partial(self._peers.encode_and_wait, self._batch)
        timings = alternate(functions, dataclasses.replace(self._patience, most=10.0))
        all_words = np.arange(options.words)
        a_word = np.interp(all_words, words, [timings[str(word)].median for word in words])
        total = timings["encoder"].median + float(a_word.sum()) * len(tags) / len(which)
        row = row_of(self._labels.name, self._size, name, Timing((total,)), self._size)
        return row | {
            "extrapolated": True,
            "repetitions": min(len(timing.seconds) for timing in timings.values()),
            "timed_words": [word + 1 for word in words],
            "timed_tags": len(which),
        }

    def _greedy_tags(self, instead: np.ndarray) -> np.ndarray:
        if "greedy" not in self._wanted:
            return instead
        decoder = decoder_of(self._model, self._labels, "greedy")
        return np.asarray(decoder(self._model.params, self._batch).tags)


def work_of(
    name: str, model: Model, labels: Labels, batch: SentScoreBatch, tags_BxL: np.ndarray
) -> Work | None:
    """What the algorithm cannot do without, where that is counted; `tags_BxL` are those it finds."""
    count = Count(
        model.t5.config,
        np.asarray(batch.encoder_mask).sum(-1),
        np.asarray(batch.num_words),
        tags_BxL,
        labels.tags,
        model.weight_size,
    )
    counted: dict[str, Callable[[], Work]] = {
        "greedy": count.greedy,
        "sentscore": functools.partial(count.sentscore, vocabulary=True),
        "sentscore-trie": functools.partial(count.sentscore, vocabulary=False),
        "pruned": count.pruned,
        "beam": functools.partial(count.sentscore, vocabulary=True, beam=BEAM),
        "score": count.score,
        "hf-generate": count.generate,
    }
    return counted[name]() if name in counted else None


def shares(
    work: Work | None, seconds: float, matrix_flops: float, machine: Machine
) -> dict[str, Any]:
    """How much of the time taken the machine would need at its best rates; nothing if not counted."""
    if work is None:
        return {}
    by_arithmetic, by_reading = work.seconds(matrix_flops, machine.read_bytes)
    return {
        "matrix_flops": matrix_flops,
        "work": dataclasses.asdict(work),
        "share_of_matrix_rate": by_arithmetic / seconds,
        "share_of_weight_reading": by_reading / seconds,
    }


def _scorer(model: Model, labels: Labels) -> Any:
    trie = labels.trie

    @jax.jit
    def forced(params: Any, batch: SentScoreBatch, tags: jax.Array) -> jax.Array:
        return score(model.t5, params, batch, tags, trie)

    return forced
