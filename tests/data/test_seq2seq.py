"""Packed rows: nothing lost, nothing twice, and the same rows from wherever one starts."""

import itertools
from collections import Counter
from collections.abc import Iterator

import grain
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_jax.data import demo
from distill_jax.data.seq2seq import (
    Pair,
    Row,
    Seq2SeqPart,
    join_pairs,
    packed_rows,
    plan_bins,
    span_corruption_part,
    tagging_part,
    training_windows,
)
from distill_jax.errors import UserError
from distill_jax.sent.format import SenTFormat
from distill_jax.tagging import LabelSet, Sentence
from distill_jax.vocab import ByteVocabulary

VOCABULARY = ByteVocabulary()
START = 2  # unlike the padding, so that tests can tell
LENGTHS = {"inputs": 24, "targets": 16}
LABELS = LabelSet(("a", "bc"))
FORMAT = SenTFormat(VOCABULARY, LABELS)


def part(count: int, first: int = 1000, rate: float = 1.0) -> Seq2SeqPart:
    """Examples of tokens that occur nowhere else."""
    rng = np.random.default_rng(first)
    fresh = itertools.count(first)

    def tokens(length: int) -> np.ndarray:
        return np.array([*itertools.islice(fresh, length - 1), VOCABULARY.eos_id], np.int32)

    pairs = [(tokens(rng.integers(2, 12)), tokens(rng.integers(2, 9))) for _ in range(count)]
    lengths = np.array([(len(source), len(target)) for source, target in pairs], np.int32)
    return Seq2SeqPart(lengths, lambda index, rng: pairs[index], rate)


def examples(part: Seq2SeqPart) -> Counter:
    rng = np.random.default_rng(0)
    return Counter(
        tuple(tuple(ids.tolist()) for ids in part.encode(i, rng)) for i in range(len(part))
    )


def unpacked(row: Row) -> Iterator[Pair]:
    """The examples of a row; checks the rest of it."""
    source, target = row["encoder_segment_ids"], row["decoder_segment_ids"]
    count = int(source.max())
    assert count == target.max() > 0
    assert (row["encoder_input_tokens"][source == 0] == VOCABULARY.pad_id).all()
    for name in ("decoder_input_tokens", "decoder_target_tokens"):
        assert (row[name][target == 0] == VOCABULARY.pad_id).all()
    for ids in (source, target):  # 1 … count without gaps, then padding
        real = ids[: np.count_nonzero(ids)]
        assert (np.diff(real) >= 0).all() and set(real) == set(range(1, count + 1))
    for segment in range(1, count + 1):
        targets = row["decoder_target_tokens"][target == segment]
        shifted = row["decoder_input_tokens"][target == segment]
        np.testing.assert_array_equal(shifted, [START, *targets[:-1]])
        yield row["encoder_input_tokens"][source == segment], targets


def found_in(rows: list[Row]) -> Counter:
    return Counter(
        tuple(tuple(ids.tolist()) for ids in pair) for row in rows for pair in unpacked(row)
    )


def assert_equal_rows(one: list[Row], two: list[Row]) -> None:
    assert len(one) == len(two)
    for left, right in zip(one, two, strict=True):
        assert left.keys() == right.keys()
        for name, array in left.items():
            assert array.dtype == right[name].dtype == np.int32
            np.testing.assert_array_equal(array, right[name])


def rows_of(parts: list[Seq2SeqPart], seed: int = 3, **options: bool) -> grain.MapDataset[Row]:
    return packed_rows(parts, LENGTHS, seed=seed, start_id=START, **options)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 10), st.integers(1, 6)), max_size=60),
    st.integers(1, 5),
    st.randoms(use_true_random=False),
)
def test_bins_hold_every_example_once_and_fit(lengths: list, open_bins: int, random) -> None:
    order = list(range(len(lengths)))
    random.shuffle(order)
    array = np.array(lengths, np.int32).reshape(-1, 2)
    limits = {"inputs": 10, "targets": 6}
    bins = plan_bins(array, limits, np.array(order, int), open_bins=open_bins)
    assert sorted(i for members in bins for i in members) == sorted(order)
    for members in bins:
        assert len(members)
        assert (array[members].sum(axis=0) <= (10, 6)).all()
    alone = plan_bins(array, limits, np.array(order, int), packing=False)
    assert [members.tolist() for members in alone] == [[i] for i in order]


def test_join_pairs() -> None:
    pairs = [(np.array([5, 6, 1]), np.array([7, 1])), (np.array([8, 1]), np.array([9, 10, 1]))]
    row = join_pairs(pairs, {"inputs": 7, "targets": 6}, pad_id=0, start_id=START)
    expected = {
        "encoder_input_tokens": [5, 6, 1, 8, 1, 0, 0],
        "encoder_segment_ids": [1, 1, 1, 2, 2, 0, 0],
        "decoder_input_tokens": [START, 7, START, 9, 10, 0],
        "decoder_target_tokens": [7, 1, 9, 10, 1, 0],
        "decoder_segment_ids": [1, 1, 2, 2, 2, 0],
    }
    assert {name: array.tolist() for name, array in row.items()} == expected
    assert {array.dtype for array in row.values()} == {np.dtype(np.int32)}


@pytest.mark.parametrize("packing", [True, False])
def test_each_epoch_holds_every_example_once(packing: bool) -> None:
    data = part(40)
    rows = rows_of([data], packing=packing)
    epoch = len(rows_of([data], packing=packing, repeat=False))
    assert epoch == 40 if not packing else epoch < 25
    epochs = [[rows[i] for i in range(n * epoch, (n + 1) * epoch)] for n in range(3)]
    for one in epochs:
        assert found_in(one) == examples(data)
        for row in one:
            assert len(row["encoder_input_tokens"]) == LENGTHS["inputs"]
            assert len(row["decoder_target_tokens"]) == LENGTHS["targets"]
    orders = {tuple(str(row["encoder_input_tokens"]) for row in one) for one in epochs}
    assert len(orders) == 3


def text_part(rate: float = 1.0) -> Seq2SeqPart:
    texts = [Sentence(sentence.words) for sentence in demo.generate("train", 12)]
    return span_corruption_part(texts, VOCABULARY, LENGTHS, rate=rate)


@pytest.mark.parametrize("parts", [[part(9)], [text_part()], [part(9), text_part(2.5)]])
def test_rows_are_a_function_of_seed_and_number(parts: list[Seq2SeqPart]) -> None:
    count = 60
    expected = [rows_of(parts)[i] for i in range(count)]
    fresh = rows_of(parts)
    assert_equal_rows([fresh[i] for i in reversed(range(count))][::-1], expected)
    for start in (0, 17, 41):
        options = grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)
        restarted = rows_of(parts)[start:count].to_iter_dataset(options)
        assert_equal_rows(list(restarted), expected[start:])
        batches = rows_of(parts).batch(3)[start : start + 4].to_iter_dataset(options)
        rows = [{k: v[i] for k, v in batch.items()} for batch in batches for i in range(3)]
        again = rows_of(parts)
        assert_equal_rows(rows, [again[i] for i in range(3 * start, 3 * start + 12)])
    other = rows_of(parts, seed=4)
    assert any(
        not np.array_equal(other[i]["encoder_input_tokens"], expected[i]["encoder_input_tokens"])
        for i in range(5)
    )


def test_rows_far_out_can_be_reached() -> None:
    rows = rows_of([part(9), part(4, 5000)])
    assert_equal_rows([rows[10**9]], [rows_of([part(9), part(4, 5000)])[10**9]])


def test_one_example_is_a_data_set() -> None:
    rows = rows_of([part(1)])
    assert_equal_rows([rows[0]], [rows[5]])


def test_without_repeating_every_row_comes_once_and_the_same() -> None:
    parts = [part(15), part(7, 5000), text_part()]
    rows = rows_of(parts, repeat=False)
    once = [rows[i] for i in range(len(rows))]
    assert_equal_rows(once, list(rows_of(parts, repeat=False)))
    tagged = [row for row in once if row["encoder_input_tokens"][0] >= 1000]
    assert found_in(tagged) == examples(parts[0]) + examples(parts[1])
    for row in once:
        assert list(unpacked(row))


def test_span_corruption_is_drawn_anew_and_reassembles() -> None:
    data = text_part()
    rows = rows_of([data])
    epoch = len(rows_of([data], repeat=False))
    epochs = [found_in([rows[i] for i in range(n * epoch, (n + 1) * epoch)]) for n in range(2)]
    assert epochs[0] != epochs[1]
    first = int(VOCABULARY.sentinel_ids[0])

    def texts(found: Counter) -> Counter:
        whole: Counter = Counter()
        for inputs, targets in found.elements():
            spans: dict[int, list[int]] = {}
            for i in targets[:-1]:
                spans.setdefault(i, []) if i >= first else spans[max(spans)].append(i)
            whole[tuple(j for i in inputs[:-1] for j in spans.get(i, [i]))] += 1
        return whole

    assert texts(epochs[0]) == texts(epochs[1])
    words = Counter("".join(VOCABULARY.decode(list(text)) for text in texts(epochs[0]).elements()))
    expected = Counter("".join(w for s in demo.generate("train", 12) for w in s.words))
    assert words == expected


@pytest.mark.parametrize("rates", [(1.0, 3.0), (0.2, 0.1), (1.0, 1.0)])
def test_rows_are_mixed_by_their_rates(rates: tuple[float, float]) -> None:
    rows = rows_of([part(30, 1000, rates[0]), part(5, 5000, rates[1])])
    share = np.mean([rows[i]["encoder_input_tokens"][0] < 5000 for i in range(400)])
    assert share == pytest.approx(rates[0] / sum(rates), abs=0.01)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_rates_must_be_positive(rate: float) -> None:
    with pytest.raises(UserError, match=r"mixing rate .* of data set 2 is not a positive number"):
        rows_of([part(3), part(3, 5000, rate)])


def test_an_example_longer_than_a_row() -> None:
    long = Seq2SeqPart(np.array([[30, 3], [4, 18]], np.int32), lambda index, rng: ([], []))  # type: ignore[arg-type, return-value]
    with pytest.raises(
        UserError, match=r"2 examples need up to 30 input and 18 target tokens but .* 24 and 16"
    ):
        rows_of([long])


def sentence(words: int, length: int = 2) -> Sentence:
    tags = ["B-bc" if i % 3 == 0 else "I-bc" if i % 3 == 1 else "O" for i in range(words)]
    return Sentence(tuple(chr(97 + i % 26) * length for i in range(words)), tuple(tags))


def test_tagging_examples_are_sent() -> None:
    whole = Sentence(("x", "y"), ("B-bc", "I-bc"))
    data = tagging_part([whole, Sentence((), ())], FORMAT, LENGTHS, rate=2.0)
    assert (len(data), data.rate) == (1, 2.0)
    inputs, targets = data.encode(0, np.random.default_rng(0))
    np.testing.assert_array_equal(inputs, FORMAT.encode_input(whole.words))
    np.testing.assert_array_equal(targets, FORMAT.encode_target([3, 1]))
    assert data.lengths.tolist() == [[len(inputs), len(targets)]]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 200), st.integers(1, 5), st.integers(8, 60), st.integers(6, 40))
def test_windows_cover_a_long_sentence_once(words: int, length: int, inputs: int, targets: int):
    long = sentence(words, length)
    limits = {"inputs": inputs, "targets": targets}
    found = training_windows(long.words, FORMAT, limits)
    assert [i for start, end in found for i in range(start, end)] == list(range(words))
    data = tagging_part([long], FORMAT, limits)
    assert len(data) == len(found)
    assert (data.lengths <= (inputs, targets)).all()
    for index, (start, end) in enumerate(found):
        encoded = data.encode(index, np.random.default_rng(0))
        assert data.lengths[index].tolist() == [len(ids) for ids in encoded]
        np.testing.assert_array_equal(encoded[0], FORMAT.encode_input(long.words[start:end]))
        # A window that opens inside a span begins with the span's label.
        parsed = FORMAT.parse_target(encoded[1], end - start)
        assert not parsed.problems


def test_a_sentence_that_fits_is_one_window() -> None:
    limits = {"inputs": 600, "targets": 600}
    assert training_windows(sentence(124).words, FORMAT, limits) == [(0, 124)]
    assert training_windows(sentence(125).words, FORMAT, limits) == [(0, 124), (124, 125)]


def test_errors_of_tagging_examples() -> None:
    with pytest.raises(UserError, match=r"sentence 1 \(a b…\) has no tags"):
        tagging_part([sentence(2), Sentence(("a", "b"))], FORMAT, LENGTHS)
    with pytest.raises(UserError, match="training set is empty"):
        tagging_part([Sentence((), ())], FORMAT, LENGTHS)
    with pytest.raises(UserError, match=r"4 target tokens cannot hold .* raise 'targets' to .* 5"):
        tagging_part([sentence(2)], FORMAT, {"inputs": 24, "targets": 4})
    tagging_part([sentence(2)], FORMAT, {"inputs": 24, "targets": 5})
    with pytest.raises(UserError, match=r"word 1 .* alone takes 4 input tokens .* limit is 3"):
        tagging_part([sentence(1)], FORMAT, {"inputs": 3, "targets": 9})


def test_a_word_beyond_the_limit_is_cut_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    lengths = {"inputs": 11, "targets": 9}
    data = tagging_part([sentence(1, 8), sentence(1, 9), sentence(1, 30)], FORMAT, lengths)
    fitting, *others = (data.encode(index, np.random.default_rng(0))[0] for index in range(3))
    assert len(fitting) == 11
    for inputs in others:
        np.testing.assert_array_equal(inputs, fitting)
    [said] = caplog.messages
    assert (
        "too long for the model, which reads their beginning alone: 2 (sentence 2: word 1" in said
    )


def test_errors_of_span_corruption() -> None:
    with pytest.raises(UserError, match="empty"):
        span_corruption_part([Sentence(()), Sentence(("x",))], VOCABULARY, LENGTHS)
    texts = [Sentence(("hello", "you"))]
    for inputs, targets in ((2, 9), (9, 3)):
        with pytest.raises(UserError, match=r"TASK_FEATURE_LENGTHS: .* at least 3, 4 and 2"):
            limits = {"inputs": inputs, "targets": targets}
            span_corruption_part(texts, VOCABULARY, limits)
    assert len(span_corruption_part(texts, VOCABULARY, {"inputs": 3, "targets": 4})) == 4
