"""`Tagger`: from model directories of both kinds to words, tags, spans and scores."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import distill_jax
from distill_jax.errors import UserError
from distill_jax.inference.settings import TaggerSettings
from distill_jax.model_dir.directory import model_hash
from distill_jax.model_dir.settings import write_temperature
from distill_jax.sentscore import DecoderSettings
from distill_jax.tagger import TaggedSentence, Tagger
from distill_jax.tagging import LabelSet, Sentence, spans_from_iob2
from distill_jax_runtime.marginals import LegalMarginals
from tests.tiny import KINDS, LABELS, SENTENCES, T5_CONFIG, bilstm_params, save_tiny, t5_params

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory of each kind."""
    return save_tiny(tmp_path_factory.mktemp(request.param) / "model", request.param)


@pytest.fixture(scope="module")
def tagged(model: Path) -> tuple[Tagger, list[TaggedSentence]]:
    """The sentences of `tiny` as that model tags them."""
    tagger = Tagger.load(model)
    return tagger, tagger.predict(SENTENCES)


def test_the_package_offers_it() -> None:
    assert distill_jax.Tagger is Tagger


def test_strings_are_split_at_blanks(tagged: tuple[Tagger, list[TaggedSentence]]) -> None:
    tagger, expected = tagged
    found = tagger.predict([" ".join(words) for words in SENTENCES])
    for one, other in zip(found, expected, strict=True):
        assert one.words == other.words
        assert one.tags == other.tags
    [spaced] = tagger.predict(["  to \t berlin\n"])
    assert spaced.words == ("to", "berlin")
    assert tagger.predict([["to", "berlin"]])[0].tags == spaced.tags


def test_one_string_is_not_a_list_of_sentences(
    tagged: tuple[Tagger, list[TaggedSentence]],
) -> None:
    with pytest.raises(TypeError, match="list of sentences"):
        tagged[0].predict("to berlin")


@pytest.mark.parametrize("word", [1, None, b"x", ""])
def test_words_are_strings(tagged: tuple[Tagger, list[TaggedSentence]], word: Any) -> None:
    with pytest.raises(UserError, match="sentence 1 has the word"):
        tagged[0].predict(["to berlin", ["to", word]])


@pytest.mark.parametrize("batch_size", [0, -1, "x", None])
def test_a_batch_holds_sentences(model: Path, batch_size: Any) -> None:
    with pytest.raises(UserError, match="give a number from 1"):
        Tagger.load(model, batch_size=batch_size)


def posteriors_of(how: str, scores: np.ndarray) -> np.ndarray:
    """Marginals over legal sequences where words are scored alone, else a softmax."""
    if how in ("viterbi", "bilstm"):
        return np.exp(LegalMarginals(scores).log_tags())
    return np.exp(scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True))


def test_spans_are_those_of_the_tags(tagged: tuple[Tagger, list[TaggedSentence]]) -> None:
    tagger, sentences = tagged
    assert any(sentence.spans for sentence in sentences)
    for words, found in zip(SENTENCES, sentences, strict=True):
        assert found.words == words
        assert len(found.tags) == len(words)
        assert [span[:3] for span in found.spans] == [
            tuple(span) for span in spans_from_iob2(found.tags)
        ]
        for span in found.spans:
            assert span.text == " ".join(words[span.start : span.end])
            assert span.label in LABELS.names
            assert 0 <= span.score <= 1
        assert found.labels == LABELS.tags == ("O", "I", "city", "date_time")
        np.testing.assert_allclose(found.posteriors.sum(-1), 1, rtol=1e-6)
        scores = found.log_likelihoods.astype(np.float64)
        expected = posteriors_of(tagger.decoder["algorithm"], scores)
        np.testing.assert_allclose(found.posteriors, expected, rtol=1e-5, atol=1e-30)
    assert tagger.predict([]) == []


def test_the_score_of_a_span_by_hand(tagged: tuple[Tagger, list[TaggedSentence]]) -> None:
    """The product of its tags' posteriors, and of no I following it within the sentence; of a word
    tagger its share of the legal sequences."""
    tagger, sentences = tagged
    ends = set()
    for found in sentences:
        for span in found.spans:
            if tagger.decoder["algorithm"] == "viterbi":
                ends.add(span.end < len(found.words))
                marginals = LegalMarginals(found.log_likelihoods)
                tag = LABELS.index(span.label)
                assert span.score == pytest.approx(marginals.span(span.start, span.end, tag))
                continue
            expected = float(found.posteriors[span.start, LABELS.index(span.label)])
            for position in range(span.start + 1, span.end):
                expected *= float(found.posteriors[position, 1])
            if span.end < len(found.words):
                expected *= 1 - float(found.posteriors[span.end, 1])
            ends.add(span.end < len(found.words))
            assert span.score == pytest.approx(expected, rel=1e-5)
    assert ends == {True, False}


def strict(text: str) -> object:
    """Parses JSON as other languages do."""

    def refuse(constant: str) -> object:
        raise ValueError(constant)

    return json.loads(text, parse_constant=refuse)


def test_to_json(tagged: tuple[Tagger, list[TaggedSentence]]) -> None:
    for found in tagged[1]:
        short = strict(json.dumps(found.to_json(), allow_nan=False))
        assert isinstance(short, dict)
        assert list(short) == ["words", "tags", "spans"]
        assert short["words"] == list(found.words)
        assert short["tags"] == list(found.tags)
        for span, fields in zip(found.spans, short["spans"], strict=True):
            assert list(fields) == ["start", "end", "label", "text", "score"]
            assert tuple(fields.values()) == span[:5]
        full = strict(json.dumps(found.to_json(posteriors=True), allow_nan=False))
        assert isinstance(full, dict)
        assert full.items() >= short.items()
        assert set(full) - set(short) == {"labels", "posteriors", "log_likelihoods"}
        assert full["labels"] == ["O", "I", "city", "date_time"]
        shape = (len(found.words), LABELS.num_tags)
        np.testing.assert_array_equal(
            np.reshape(full["posteriors"], shape), np.float64(found.posteriors)
        )
        scores = np.reshape(np.array(full["log_likelihoods"], np.float64), shape)  # null: NaN
        np.testing.assert_array_equal(
            np.where(np.isnan(scores), -np.inf, scores), np.float64(found.log_likelihoods)
        )


@pytest.mark.parametrize("kind", KINDS)
def test_temperature_and_thresholds_of_the_model_are_used(tmp_path: Path, kind: str) -> None:
    plain = Tagger.load(save_tiny(tmp_path / "plain", kind)).predict(SENTENCES)
    settings = {"format": "sent_prime" if kind == "t5" else "word_tags"}
    warm = Tagger.load(
        save_tiny(tmp_path / "warm", kind, settings=TaggerSettings(**settings, temperature=4.0))
    ).predict(SENTENCES)
    for one, other in zip(plain, warm, strict=True):
        assert one.tags == other.tags
        np.testing.assert_array_equal(one.log_likelihoods, other.log_likelihoods)
        expected = posteriors_of(kind, one.log_likelihoods.astype(np.float64) / 4)
        np.testing.assert_allclose(other.posteriors, expected, rtol=1e-5, atol=1e-30)
    scores = [span.score for found in plain for span in found.spans if span.label == "city"]
    threshold = (min(scores) + max(scores)) / 2
    assert min(scores) < threshold < max(scores)
    strict_settings = TaggerSettings(**settings, thresholds={"city": threshold})
    strict_tagger = Tagger.load(save_tiny(tmp_path / "strict", kind, settings=strict_settings))
    for one, other in zip(plain, strict_tagger.predict(SENTENCES), strict=True):
        assert other.spans == tuple(
            span for span in one.spans if span.label != "city" or span.score >= threshold
        )


def test_a_t5_is_told_its_decoder(tmp_path: Path) -> None:
    settings = TaggerSettings(normaliser="trie")
    model = save_tiny(tmp_path / "model", "t5", settings=settings)
    assert Tagger.load(model).decoder == {
        "algorithm": "sentscore",
        "beam": 1,
        "normaliser": "trie",
    }
    assert Tagger.load(model, normaliser="vocab").decoder["normaliser"] == "vocab"
    for decoder, record in (
        (DecoderSettings(beam=4), {"algorithm": "sentscore", "beam": 4, "normaliser": "vocab"}),
        (DecoderSettings("greedy"), {"algorithm": "greedy"}),
        (DecoderSettings("free"), {"algorithm": "free"}),
        (
            DecoderSettings("pruned", epsilon=0.01),
            {"algorithm": "pruned", "normaliser": "vocab", "epsilon": 0.01},
        ),
    ):
        assert Tagger.load(model, decoder=decoder).decoder == record
    pruned = Tagger.load(model, decoder=DecoderSettings("pruned"), normaliser="trie")
    assert pruned.decoder["normaliser"] == "trie"


@pytest.mark.parametrize("kind", ["t5", "encoder"])
def test_activations_may_be_bfloat16(tmp_path: Path, kind: str) -> None:
    model = save_tiny(tmp_path / "model", kind)
    words = [words for words in SENTENCES if words]
    found = {}
    for dtype in (None, "float32", "bfloat16"):
        tagger = Tagger.load(model, dtype=dtype)  # type: ignore[arg-type]
        assert tagger.decoder.get("dtype") == ("bfloat16" if dtype == "bfloat16" else None)
        scores = [one.log_likelihoods for one in tagger.predict_ids(words)]
        assert all(score.dtype == np.float32 for score in scores)
        found[dtype] = np.concatenate(scores)
    np.testing.assert_array_equal(found["float32"], found[None])
    assert not np.array_equal(found["bfloat16"], found[None])
    there = np.isfinite(found[None])  # not where a tag is illegal
    np.testing.assert_array_equal(np.isfinite(found["bfloat16"]), there)
    rough, exact = found["bfloat16"][there], found[None][there]
    assert np.abs(rough - exact).max() < 0.05 * np.abs(exact).max()


def test_a_bilstm_has_no_dtype(tmp_path: Path) -> None:
    model = save_tiny(tmp_path / "model", "bilstm")
    with pytest.raises(UserError, match="this model is a BiLSTM"):
        Tagger.load(model, dtype="bfloat16")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sentscore", "pruned", "greedy"])
def test_a_model_over_several_devices_tags_as_on_one(name: str, tmp_path: Path) -> None:
    save_tiny(tmp_path / "m", "t5")
    settings = DecoderSettings(name)
    alone = Tagger.load(tmp_path / "m", decoder=settings)
    split = Tagger.load(tmp_path / "m", decoder=settings, model_parallel=2)
    for _ in range(2):  # neither takes the other's program
        for one, other in zip(alone.decode(SENTENCES), split.decode(SENTENCES), strict=True):
            np.testing.assert_array_equal(one.tag_ids, other.tag_ids)
            if one.log_likelihoods is not None:
                np.testing.assert_allclose(
                    one.log_likelihoods, other.log_likelihoods, rtol=1e-4, atol=1e-5
                )
    [query] = [
        leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(split._params)
        if "'encoder'" in str(path) and "'query'" in str(path)
    ]
    assert len(query.sharding.device_set) == 2
    assert query.addressable_shards[0].data.size == query.size / 2


@pytest.mark.parametrize(
    ("kind", "devices", "message"),
    [("t5", 99, r"over 99 devices and there are \d+"), ("bilstm", 2, "only a T5 can be split")],
)
def test_what_cannot_be_split(kind: str, devices: int, message: str, tmp_path: Path) -> None:
    save_tiny(tmp_path / "m", kind)
    with pytest.raises(UserError, match=message):
        Tagger.load(tmp_path / "m", model_parallel=devices)


def test_a_word_tagger_has_no_decoder_settings(tmp_path: Path) -> None:
    model = save_tiny(tmp_path / "model", "bilstm")
    assert Tagger.load(model).decoder == {"algorithm": "viterbi"}
    for options in ({"normaliser": "trie"}, {"decoder": DecoderSettings()}):
        with pytest.raises(UserError, match="this model is a word tagger"):
            Tagger.load(model, **options)  # type: ignore[arg-type]


def test_a_model_with_single_token_tags_tags_with_them(tmp_path: Path) -> None:
    """Its texts could not be written by its vocabulary, and need not be."""
    config = T5_CONFIG.replace(vocab_size=388)
    arguments = {
        "config": config,
        "params": t5_params(config),
        "labels": LabelSet(("city", "date_time"), ("<extra_id_0>", "<extra_id_1>")),
    }
    model = save_tiny(tmp_path / "text", "t5", **arguments)
    with pytest.raises(UserError, match="holds a sentinel"):
        Tagger.load(model)
    settings = TaggerSettings(single_token_tags=True)
    model = save_tiny(tmp_path / "single", "t5", **arguments, settings=settings)
    [found] = Tagger.load(model).predict(["to berlin on may"])
    assert len(found.tags) == 4


def test_a_label_store_needs_posteriors(tmp_path: Path) -> None:
    tagger = Tagger.load(save_tiny(tmp_path / "model", "t5"), decoder=DecoderSettings("greedy"))
    with pytest.raises(UserError, match="computes no posteriors"):
        tagger.label([Sentence(("to", "berlin"))])


@pytest.mark.parametrize("kind", KINDS)
def test_weights_that_are_not_numbers(tmp_path: Path, kind: str) -> None:
    import jax

    params = t5_params() if kind == "t5" else bilstm_params()
    params = jax.tree.map(lambda leaf: np.full_like(leaf, np.nan), params)
    tagger = Tagger.load(save_tiny(tmp_path / "model", kind, params=params))
    with pytest.raises(UserError, match="not numbers"):
        tagger.predict(["to berlin"])


def test_what_is_not_a_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a model directory"):
        Tagger.load(tmp_path / "nothing")


def test_the_hash_of_a_model_is_of_what_predictions_depend_on(model: Path, tmp_path: Path) -> None:
    kind = "t5" if (model / "config.json").read_text().find("bilstm") < 0 else "bilstm"
    again = save_tiny(tmp_path / "again", kind)
    assert model_hash(again) == model_hash(model)
    (again / "README.md").write_text("another card")
    assert model_hash(again) == model_hash(model)
    other = save_tiny(tmp_path / "other", kind, name="other", training={"seconds": 7.5})
    assert model_hash(other) == model_hash(model)
    write_temperature(other, 2.0)
    assert model_hash(other) != model_hash(model)


WITHOUT = """
import importlib.abc, sys

BLOCKED = ("seqio", "tensorflow", "tensorflow_datasets", "tensorflow_text", "torch", "transformers")
blocking = sys.argv[1] == "blocked"

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

if blocking:
    sys.meta_path.insert(0, Blocker())
import distill_jax
assert "jax" not in sys.modules, "importing the package should be cheap"
from distill_jax.cli import main
for model in sys.argv[2:]:
    [found] = distill_jax.Tagger.load(model).predict(["to berlin"])
    assert len(found.tags) == 2
    assert main(["predict", "--model", model, "--input", "-", "--output", "-"]) == 0
assert not [name for name in BLOCKED if name in sys.modules]
print("done")
"""


@pytest.mark.parametrize("how", ["blocked", "installed"])
def test_prediction_neither_needs_nor_imports_tensorflow(tmp_path: Path, how: str) -> None:
    models = [str(save_tiny(tmp_path / kind, kind)) for kind in KINDS]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, how, *models],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        input="",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "done"
