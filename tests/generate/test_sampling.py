"""Samples against the distribution that brute force says they have, and against one another."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from distill_jax.errors import UserError
from distill_jax.generate.choice import choose
from distill_jax.generate.sampler import TAGGED, Alphabet, Samples, SamplingBatch, make_sampler
from distill_jax.generate.settings import SamplingSettings
from distill_jax.models.t5 import T5
from distill_jax.models.t5_config import T5Config
from distill_jax.vocab import ByteVocabulary
from tests.tiny import t5_params

CONFIG = T5Config(
    vocab_size=9,
    d_model=8,
    d_kv=4,
    d_ff=8,
    num_heads=2,
    num_encoder_layers=1,
    num_decoder_layers=1,
)
EOS, TEXT, SENTINELS, LENGTH = 1, (2, 3, 4, 5), (8, 7, 6), 3
DRAWS, BATCH = 4096, 1024
INPUTS = np.array([3, 4, 5, EOS], np.int32)


def alphabet() -> Alphabet:
    is_text, rank = np.zeros(9, bool), np.full(9, -1, np.int32)
    is_text[list(TEXT)] = True
    rank[list(SENTINELS)] = range(3)
    return Alphabet(is_text, rank, np.asarray(EOS, np.int32))


def batch_of(numbers: Any, spans: int = 0) -> SamplingBatch:
    rows = len(numbers)
    tokens = np.tile(INPUTS, (rows, 1))
    return SamplingBatch(
        tokens,
        np.ones_like(tokens, bool),
        np.asarray(numbers, np.int32),
        np.full(rows, spans, np.int32),
    )


@pytest.fixture(scope="module")
def params() -> Any:
    """Random ones, whose output is tamed: every token has some probability everywhere."""
    params = t5_params(CONFIG, seed=2)
    params["decoder"]["logits_dense"]["kernel"] *= 0.15
    return params


def draw(params: Any, settings: SamplingSettings, count: int, **options: Any) -> Samples:
    sampler = make_sampler(T5(CONFIG), settings)
    size, key = options.pop("size", BATCH), jax.random.key(options.pop("seed", 0))
    parts = [
        sampler(params, batch_of(np.arange(start, start + size), **options), alphabet(), key)
        for start in range(0, count, size)
    ]
    return Samples(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def cut(logits: np.ndarray, settings: SamplingSettings) -> np.ndarray:
    """Probabilities of a token, one definition after the other."""
    p = np.exp(logits / settings.temperature)
    p /= p.sum()
    order = np.argsort(-p, kind="stable")
    if settings.top_k:
        p[order[settings.top_k :]] = 0
        p /= p.sum()
    if settings.top_p < 1:
        before = np.cumsum(p[order]) - p[order]
        p[order[before >= settings.top_p]] = 0
    p[p < settings.min_p * p.max()] = 0
    return p / p.sum()


def enumerated(
    params: Any, settings: SamplingSettings
) -> dict[tuple[int, ...], tuple[float, float]]:
    """Every target with its probability under the settings, and its log-probability under the model."""
    model, found = T5(CONFIG), {}
    prefixes = [()] + [p for n in range(1, LENGTH) for p in itertools.product(TEXT, repeat=n)]
    decoder = np.zeros((len(prefixes), LENGTH), np.int32)
    for row, prefix in enumerate(prefixes):
        decoder[row, 1 : 1 + len(prefix)] = prefix
    inputs = np.tile(INPUTS, (len(prefixes), 1))
    logits = np.asarray(
        model.apply(
            {"params": params}, inputs, np.ones_like(inputs), decoder, np.ones_like(decoder)
        ),
        np.float64,
    )
    after = {prefix: logits[row, len(prefix)] for row, prefix in enumerate(prefixes)}

    def walk(prefix: tuple[int, ...], p: float, log_p: float) -> None:
        if len(prefix) == LENGTH or prefix[-1:] == (EOS,):
            found[prefix + (0,) * (LENGTH - len(prefix))] = p, log_p
            return
        masked = np.full(9, -np.inf)
        masked[[EOS, *TEXT]] = after[prefix][[EOS, *TEXT]]
        log_all = after[prefix] - np.logaddexp.reduce(after[prefix])
        for token, own in enumerate(cut(masked, settings)):
            if own > 0:
                walk((*prefix, token), p * own, log_p + log_all[token])

    walk((), 1.0, 0.0)
    return found


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 1.6},
        {"top_k": 3},
        {"top_p": 0.8},
        {"min_p": 0.2},
        {"temperature": 0.7, "top_k": 4, "top_p": 0.95, "min_p": 0.05},
    ],
    ids=str,
)
def test_distribution_is_that_of_brute_force(params: Any, fields: dict[str, Any]) -> None:
    settings = SamplingSettings(**fields, max_tokens=LENGTH)
    expected = enumerated(params, settings)
    assert len(expected) > 10
    samples = draw(params, settings, DRAWS)
    counts: dict[tuple[int, ...], int] = dict.fromkeys(expected, 0)
    for row, log_p in zip(samples.tokens.tolist(), samples.log_probabilities, strict=True):
        counts[tuple(row)] += 1  # a KeyError is a target of probability 0
        assert abs(log_p.sum() - expected[tuple(row)][1]) < 1e-4
    # Cells of fewer than 5 are put together, as the chi-square distribution wants it.
    pairs = [(counts[key], DRAWS * p) for key, (p, _) in expected.items()]
    cells = [pair for pair in pairs if pair[1] >= 5]
    rest = np.sum([pair for pair in pairs if pair[1] < 5] or [(0, 0)], axis=0)
    if rest[1] > 0:
        cells.append(tuple(rest))
    observed, wanted = np.array(cells).T
    assert stats.chisquare(observed, wanted).pvalue > 1e-3


def test_a_sample_does_not_depend_on_its_batch_or_the_devices(params: Any) -> None:
    settings = SamplingSettings(top_p=0.9, max_tokens=6)
    whole = draw(params, settings, 64, size=64)
    pieces = draw(params, settings, 64, size=16)
    np.testing.assert_array_equal(whole.tokens, pieces.tokens)
    assert (draw(params, settings, 64, size=64, seed=1).tokens != whole.tokens).any()
    assert len({tuple(row) for row in whole.tokens.tolist()}) > 20
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    batch = jax.device_put(batch_of(np.arange(64)), split)
    sampler = make_sampler(T5(CONFIG), settings, mesh, (("batch", "data"),))
    spread = sampler(params, batch, alphabet(), jax.random.key(0))
    np.testing.assert_array_equal(spread.tokens, whole.tokens)
    np.testing.assert_allclose(spread.log_probabilities, whole.log_probabilities, rtol=1e-4)


def test_spans_stand_between_sentinels(params: Any) -> None:
    samples = draw(params, SamplingSettings(max_tokens=24), 64, size=64, spans=2)
    ended = 0
    for row, has_ended in zip(samples.tokens.tolist(), samples.ended, strict=True):
        sentinels = [token for token in row if token in SENTINELS]
        assert row[0] == SENTINELS[0] and sentinels == list(SENTINELS[: len(sentinels)])
        assert EOS not in row
        assert (sentinels == list(SENTINELS)) == has_ended
        ended += has_ended
    assert ended > 0


def test_a_tagged_sentence_ends_after_a_context(params: Any) -> None:
    is_text, rank = np.zeros(9, bool), np.full(9, -1, np.int32)
    is_text[[2, 3]] = True
    rank[[8, 7, 6, 5]] = range(4)  # of one mention
    letters = Alphabet(is_text, rank, np.asarray(EOS, np.int32))
    sampler = make_sampler(T5(CONFIG), SamplingSettings(max_tokens=24))
    samples = sampler(params, batch_of(np.arange(64), TAGGED), letters, jax.random.key(0))
    shapes = set()
    for row, has_ended in zip(np.asarray(samples.tokens).tolist(), samples.ended, strict=True):
        structure = [token for token in row if token in (EOS, 8, 7, 6, 5)]
        assert structure == [8, 7, 6, 5, EOS][: len(structure)] or structure == [8, EOS]
        assert has_ended == (structure[-1] == EOS)
        assert set(row) <= {0, EOS, 2, 3, *structure}
        shapes.add(tuple(structure))
    assert {(8, EOS), (8, 7, 6, 5, EOS)} <= shapes


def test_no_ngram_occurs_twice_and_padding_stays_empty(params: Any) -> None:
    settings = SamplingSettings(no_repeat_ngram=2, temperature=0.5, max_tokens=12)
    sampler = make_sampler(T5(CONFIG), settings)
    numbers = np.where(np.arange(64) < 60, np.arange(64), -1)
    samples = sampler(params, batch_of(numbers), alphabet(), jax.random.key(0))
    free = make_sampler(T5(CONFIG), SamplingSettings(temperature=0.5, max_tokens=12))(
        params, batch_of(numbers), alphabet(), jax.random.key(0)
    )

    def repeats(tokens: Any) -> int:
        found = 0
        for row in np.asarray(tokens).tolist():
            pairs = list(itertools.pairwise(token for token in row if token))
            found += len(pairs) > len(set(pairs))
        return found

    assert repeats(free.tokens) > 0 == repeats(samples.tokens)
    assert not np.asarray(samples.tokens)[60:].any()
    # No id that may be written here is 0.
    np.testing.assert_array_equal(samples.lengths, (np.asarray(samples.tokens) != 0).sum(axis=1))


def test_a_large_vocabulary_is_drawn_from_as_a_small_one(params: Any) -> None:
    """Two levels of sums, and a threshold by bisection, against sorting."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(1, 5000)).astype(np.float32) * 3
    settings = SamplingSettings(top_p=0.7)
    p = cut(logits[0].astype(np.float64), settings)
    uniform = rng.random((20000, 2)).astype(np.float32)
    drawn = np.asarray(
        jax.jit(
            lambda u: jax.lax.map(
                lambda one: choose(jnp.asarray(logits), one[None], settings)[0], u
            )
        )(uniform)
    )
    assert (p[drawn] > 0).all()
    likely = np.argsort(-p)[:20]
    counts = np.array([(drawn == token).sum() for token in likely])
    observed = [*counts, len(drawn) - counts.sum()]
    wanted = [*(p[likely] * len(drawn)), (1 - p[likely].sum()) * len(drawn)]
    assert stats.chisquare(observed, wanted).pvalue > 1e-3


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_p": 1.5}, "top_p is 1.5"),
        ({"min_p": -0.1}, "min_p is -0.1"),
        ({"top_k": -1}, "top_k is -1"),
        ({"max_tokens": 0}, "max_tokens is 0"),
    ],
)
def test_bad_settings(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        SamplingSettings(**fields)


def test_a_vocabulary_that_does_not_fit() -> None:
    with pytest.raises(UserError, match="rows"):
        Alphabet.of(ByteVocabulary(), 100)
