"""Vocabularies: T5's ids, agreement of the kinds, look-alikes of control tokens, round trips."""

import builtins
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_jax.errors import UserError
from distill_jax.vocab import (
    ByteVocabulary,
    HuggingFaceVocabulary,
    SentencePieceVocabulary,
    Vocabulary,
    load_vocabulary,
    train_sentencepiece,
)
from distill_jax.vocab.sentencepiece import Sample

TEXTS = [
    "play wow by jon theodore",
    "book a table for two at seven",
    "play some jazz by miles davis",
    "what is the weather in paris tomorrow",
    "extra id unk pad <s> </s> <pad> <unk> 0123456789 _ /",
]
LOOK_ALIKES = [
    "</s>",
    "<pad>",
    "<unk>",
    "<extra_id_0>",
    "<extra_id_5>",
    "<extra_id_99>",
    "a<extra_id_5>b",
    "<extra_id_5><extra_id_6>",
    "▁<extra_id_5>",
    "\uff1c/s\uff1e",  # full-width; the normaliser makes it </s>
]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SentencePieceVocabulary:
    return train_sentencepiece(TEXTS, 100, tmp_path_factory.mktemp("small"), extra_ids=30)


@pytest.fixture(scope="module")
def t5(shared_dir: Path) -> SentencePieceVocabulary:
    return SentencePieceVocabulary(shared_dir / "vocab" / "t5")


@pytest.fixture(scope="module")
def t5_hf(shared_dir: Path) -> HuggingFaceVocabulary:
    pytest.importorskip("tokenizers")
    return HuggingFaceVocabulary(shared_dir / "vocab" / "t5")


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> SentencePieceVocabulary:
    """A model that holds its sentinels as pieces found in text, as mT5's does."""
    path = tmp_path_factory.mktemp("named") / "spiece.model"
    with path.open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(TEXTS),
            model_writer=file,
            vocab_size=100,
            hard_vocab_limit=False,
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            user_defined_symbols=[f"▁<extra_id_{n}>" for n in (3, 2, 1, 0)],
            minloglevel=2,
        )
    return SentencePieceVocabulary(path)


def words_of(folder: Path) -> list[str]:
    lines = (folder / "train.conll").read_text(encoding="utf-8").splitlines()
    return sorted({line.split("\t")[0] for line in lines if line})


def assert_only_text(vocabulary: Vocabulary, ids: list[int]) -> None:
    control = {vocabulary.pad_id, vocabulary.eos_id, *vocabulary.sentinel_ids.tolist()}
    assert control.isdisjoint(ids)
    assert all(0 <= i < vocabulary.size for i in ids)


# T5's own vocabulary


@pytest.mark.parametrize("kind", ["t5", "t5_hf"])
def test_t5_control_ids_and_sentinels(kind: str, request: pytest.FixtureRequest) -> None:
    vocabulary: Vocabulary = request.getfixturevalue(kind)
    assert vocabulary.size == 32_100
    assert (vocabulary.pad_id, vocabulary.eos_id, vocabulary.unk_id) == (0, 1, 2)
    assert vocabulary.sentinel_ids.dtype == np.int32
    assert vocabulary.sentinel_ids.tolist() == list(range(32_099, 31_999, -1))


@pytest.mark.parametrize("dataset", ["snips", "crossner_science"])
def test_t5_kinds_agree_on_real_words(
    dataset: str, t5: Vocabulary, t5_hf: Vocabulary, shared_dir: Path
) -> None:
    words = words_of(shared_dir / "data" / dataset)
    assert len(words) > 1000
    for word in words:
        ids = t5.encode(word)
        assert ids == t5_hf.encode(word), word
        assert_only_text(t5, ids)
        if t5.unk_id not in ids:  # decoding by either gives the same text
            assert t5.decode(ids) == t5_hf.decode(ids)


@pytest.mark.parametrize(
    "word", [*LOOK_ALIKES, "", " ", "\t", "\u200b", "\ufeff", "a\x07b", "New York"]
)
def test_t5_kinds_agree_on_odd_words(word: str, t5: Vocabulary, t5_hf: Vocabulary) -> None:
    assert t5.encode(word) == t5_hf.encode(word)


def test_t5_text_never_becomes_a_sentinel(t5: Vocabulary, t5_hf: Vocabulary) -> None:
    # sentencepiece 0.2.3: ▁ <unk> extra _ i d _ 5 >, since T5 has no piece for <
    spelt = [3, 2, 25666, 834, 23, 26, 834, 755, 3155]
    assert t5.encode("<extra_id_5>") == spelt == t5_hf.encode("<extra_id_5>")
    assert t5.encode("</s>") == [3, 2, 87, 7, 3155] == t5_hf.encode("</s>")


def test_t5_equals_transformers_on_words(t5: Vocabulary, shared_dir: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(shared_dir / "vocab" / "t5" / "tokenizer.json")
    )
    for word in ["play", "wow", "theodore", "Überraschung", "O", "TRACK"]:
        assert t5.encode(word) == tokenizer.encode(word, add_special_tokens=False)


def test_decode_shows_sentinels_and_unknown_ids(t5: Vocabulary, t5_hf: Vocabulary) -> None:
    ids = [32_099, 577, 32_098, 2275, 210, 2, 32_097, 32_127, 1, 0, 0]
    expected = "<extra_id_0> play <extra_id_1> wow ⁇ <extra_id_2> ⁇"
    assert t5.decode(ids) == expected == t5_hf.decode(ids)
    assert t5.decode([]) == ""


def test_t5_hash_is_stable_and_depends_on_sentinels(t5: Vocabulary, shared_dir: Path) -> None:
    path = shared_dir / "vocab" / "t5" / "spiece.model"
    assert t5.content_hash() == SentencePieceVocabulary(path).content_hash()
    assert t5.content_hash() != SentencePieceVocabulary(path, extra_ids=50).content_hash()


# Text and control tokens


@pytest.mark.parametrize("word", LOOK_ALIKES)
@pytest.mark.parametrize("kind", ["small", "named", "byte"])
def test_look_alikes_are_text(word: str, kind: str, request: pytest.FixtureRequest) -> None:
    vocabulary = ByteVocabulary() if kind == "byte" else request.getfixturevalue(kind)
    ids = vocabulary.encode(word)
    assert ids
    assert_only_text(vocabulary, ids)


@settings(max_examples=200, deadline=None)
@given(text=st.text(st.characters(exclude_categories=()), max_size=12))
def test_any_text_encodes_to_text(text: str, small: Vocabulary, named: Vocabulary) -> None:
    for vocabulary in (small, named, ByteVocabulary()):
        assert_only_text(vocabulary, vocabulary.encode(text))


def test_lone_surrogates_count_as_replacement_character(small: Vocabulary) -> None:
    assert small.encode("a\ud800") == small.encode("a\ufffd")
    assert ByteVocabulary().encode("a\ud800") == ByteVocabulary().encode("a\ufffd")


def test_sentinels_in_the_model_are_used_by_name(named: SentencePieceVocabulary) -> None:
    # The model declares <extra_id_3> first: names decide, not places; none are appended.
    assert named.sentinel_ids.tolist() == [6, 5, 4, 3]
    assert named.size == named._processor.get_piece_size()
    assert named.encode("<extra_id_1>") == [named.unk_id]


# Bytes


def test_bytes_as_in_byt5() -> None:
    transformers = pytest.importorskip("transformers")
    reference, ours = transformers.ByT5Tokenizer(), ByteVocabulary()
    assert ours.size == len(reference)
    names = [f"<extra_id_{n}>" for n in range(ours.num_sentinels)]
    assert ours.num_sentinels == 125
    assert ours.sentinel_ids.tolist() == reference.convert_tokens_to_ids(names)
    control = reference.pad_token_id, reference.eos_token_id, reference.unk_token_id
    assert (ours.pad_id, ours.eos_id, ours.unk_id) == control
    for text in ["play", "Überraschung", "日本", "a b"]:
        assert ours.encode(text) == reference.encode(text, add_special_tokens=False)
        assert ours.decode(ours.encode(text)) == text


# Saving and loading


def test_small_vocabulary_round_trips_with_its_sentinels(
    small: SentencePieceVocabulary, tmp_path: Path
) -> None:
    small.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(small.files)
    for path in (tmp_path, tmp_path / "spiece.model"):
        again = load_vocabulary(path)
        assert again.content_hash() == small.content_hash()
        assert again.size == small.size
        assert again.sentinel_ids.tolist() == small.sentinel_ids.tolist()
        assert again.encode("jazz in paris") == small.encode("jazz in paris")
    assert small.num_sentinels == 30
    assert small.sentinel_ids[0] == small.size - 1
    assert small.sentinel_ids[-1] == small.size - 30


@pytest.mark.parametrize("kind", ["named", "t5_hf", "byte"])
def test_other_kinds_round_trip(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    vocabulary = ByteVocabulary() if kind == "byte" else request.getfixturevalue(kind)
    vocabulary.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(vocabulary.files)
    again = load_vocabulary(tmp_path)
    assert type(again) is type(vocabulary)
    assert again.content_hash() == vocabulary.content_hash()
    assert again.sentinel_ids.tolist() == vocabulary.sentinel_ids.tolist()


@pytest.mark.parametrize("kind", ["small", "t5_hf", "byte"])
def test_vocabularies_can_be_sent_to_worker_processes(
    kind: str, request: pytest.FixtureRequest
) -> None:
    vocabulary = ByteVocabulary() if kind == "byte" else request.getfixturevalue(kind)
    again = pickle.loads(pickle.dumps(vocabulary))
    assert again.encode("play jazz") == vocabulary.encode("play jazz")
    assert again.content_hash() == vocabulary.content_hash()


def test_load_recognises_what_a_directory_holds(
    small: SentencePieceVocabulary, shared_dir: Path, tmp_path: Path
) -> None:
    assert isinstance(load_vocabulary("byte"), ByteVocabulary)
    assert isinstance(load_vocabulary(shared_dir / "vocab" / "t5"), SentencePieceVocabulary)
    small.save(tmp_path)
    (tmp_path / "vocabulary.json").unlink()
    (tmp_path / "tokenizer_config.json").write_text('{"extra_ids": 7}')
    assert load_vocabulary(tmp_path).num_sentinels == 7
    (tmp_path / "spiece.model").unlink()
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "ByT5Tokenizer"}')
    assert isinstance(load_vocabulary(tmp_path), ByteVocabulary)


def test_a_sidecar_speaks_for_its_own_model_only(tmp_path: Path) -> None:
    train_sentencepiece(TEXTS, 100, tmp_path / "one.model", extra_ids=5)
    (tmp_path / "two.model").write_bytes((tmp_path / "one.model").read_bytes())
    assert load_vocabulary(tmp_path / "one.model").num_sentinels == 5
    assert load_vocabulary(tmp_path).num_sentinels == 5
    assert load_vocabulary(tmp_path / "two.model").num_sentinels == 100


# Training


def test_training_is_deterministic(tmp_path: Path) -> None:
    models = []
    for name in ("a", "b"):
        train_sentencepiece(TEXTS, 60, tmp_path / name, sample=Sample(4, seed=3))
        models.append((tmp_path / name / "spiece.model").read_bytes())
    assert models[0] == models[1]
    train_sentencepiece(TEXTS, 60, tmp_path / "c", sample=Sample(3, seed=4))
    assert (tmp_path / "c" / "spiece.model").read_bytes() != models[0]


def test_training_yields_t5s_layout(small: SentencePieceVocabulary) -> None:
    assert (small.pad_id, small.eos_id, small.unk_id) == (0, 1, 2)
    assert small._processor.bos_id() == -1
    assert small.size - small.extra_ids <= 100
    assert small._processor.encode("play", out_type=str)[0].startswith("▁")
    assert small.encode("\uff50\uff4c\uff41\uff59") == small.encode("play")  # full-width, by NFKC
    assert small.encode("\N{UNICORN FACE}")[-1] == small.unk_id  # no byte fallback


def test_required_texts_are_covered(tmp_path: Path) -> None:
    labels = ["movie Çelebi", "ŽANR"]
    texts = ["aaa bbb ccc"] * 200
    without = train_sentencepiece(texts, 60, tmp_path / "a", character_coverage=0.98)
    vocabulary = train_sentencepiece(
        texts, 60, tmp_path / "b", character_coverage=0.98, required=labels, sample=Sample(1)
    )
    for text in labels:
        assert without.unk_id in without.encode(text)
        assert vocabulary.unk_id not in vocabulary.encode(text)


def test_sentinels_in_the_corpus_are_not_learnt(tmp_path: Path) -> None:
    vocabulary = train_sentencepiece(["<extra_id_0> hello"] * 50, 60, tmp_path, extra_ids=3)
    assert vocabulary.num_sentinels == 3


def test_long_lines_are_not_dropped(tmp_path: Path) -> None:
    vocabulary = train_sentencepiece(["hello", "z " * 5000 + "\0q"], 50, tmp_path)
    assert vocabulary.unk_id not in vocabulary.encode("zq")


@pytest.mark.parametrize("texts", [[], [""], [" ", "\u200b", "<extra_id_3>"]])
def test_training_without_text_is_refused(texts: list[str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give some sentences"):
        train_sentencepiece(texts, 100, tmp_path)
    assert not list(tmp_path.iterdir())


def test_training_with_too_few_pieces_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"10 pieces are too few .* at least"):
        train_sentencepiece(TEXTS, 10, tmp_path)
    with pytest.raises(UserError, match=r"must lie in 0.98 to 1"):
        train_sentencepiece(TEXTS, 100, tmp_path, character_coverage=0.5)


# Bad input


@pytest.mark.parametrize(
    ("files", "match"),
    [
        ({}, "no vocabulary here"),
        ({"spiece.model": "not a model"}, "not a SentencePiece model"),
        ({"spiece.model": ""}, "not a SentencePiece model"),
        ({"vocabulary.json": "{"}, "not valid JSON"),
        ({"vocabulary.json": "[]"}, "JSON object"),
        ({"vocabulary.json": '{"kind": "bpe"}'}, "unknown kind 'bpe'"),
        ({"vocabulary.json": '{"kind": "sentencepiece"}'}, "cannot read"),
        (
            {"spiece.model": "", "tokenizer_config.json": '{"extra_ids": -1}'},
            "extra_ids is -1",
        ),
        ({"tokenizer.json": "{}"}, "not a tokenizer"),
        ({"tokenizer.json": "x"}, "not a tokenizer"),
    ],
)
def test_bad_directories(files: dict[str, str], match: str, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=match) as error:
        load_vocabulary(tmp_path)
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_bad_paths(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such vocabulary"):
        load_vocabulary(tmp_path / "absent")
    (tmp_path / "words.txt").write_text("a\n")
    with pytest.raises(UserError, match="unknown kind of vocabulary"):
        load_vocabulary(tmp_path / "words.txt")


def test_truncated_model_is_refused(small: SentencePieceVocabulary, tmp_path: Path) -> None:
    small.save(tmp_path)
    model = (tmp_path / "spiece.model").read_bytes()
    (tmp_path / "spiece.model").write_bytes(model[: len(model) // 2])
    with pytest.raises(UserError, match="not a SentencePiece model"):
        load_vocabulary(tmp_path)


def test_model_without_pad_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "spiece.model").open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(TEXTS),
            model_writer=file,
            vocab_size=100,
            hard_vocab_limit=False,
            minloglevel=2,
        )
    with pytest.raises(UserError, match="no pad piece"):
        load_vocabulary(tmp_path)


# Hugging Face files


def test_other_tokenizer_models_keep_specials_out_of_text(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    names = ["<pad>", "</s>", "<unk>", "<extra_id_0>", "<extra_id_1>"]
    vocab = {name: i for i, name in enumerate([*names, "play", "jazz"])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(names)
    tokenizer.enable_truncation(1)
    tokenizer.enable_padding(length=8)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    vocabulary = load_vocabulary(tmp_path)
    assert vocabulary.sentinel_ids.tolist() == [3, 4]
    # Neither the file's truncation nor its padding applies.
    assert vocabulary.encode("play jazz play") == [5, 6, 5]
    assert vocabulary.encode("play </s> <extra_id_1>") == [5, 2, 2]


def test_unigram_file_with_sentinels_among_its_pieces(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    names = ["<pad>", "</s>", "<unk>", "▁<extra_id_1>", "▁<extra_id_0>"]  # as mT5 spells them
    pieces = [(name, 0.0) for name in names] + [(p, -2.0) for p in ("▁", "▁play", *"<extra_id01>")]
    tokenizer = tokenizers.Tokenizer(tokenizers.models.Unigram(pieces, unk_id=2))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    tokenizer.decoder = tokenizers.decoders.Metaspace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert tokenizer.encode("<extra_id_0>").ids == [4]  # the file alone would make it a sentinel
    vocabulary = load_vocabulary(tmp_path)
    assert vocabulary.sentinel_ids.tolist() == [4, 3]
    spelt = [pieces.index((piece, -2.0)) for piece in ("▁", *"<extra_id_0>")]
    assert vocabulary.encode("<extra_id_0>") == spelt
    assert vocabulary.decode([4, 6, 3]) == "<extra_id_0> play <extra_id_1>"


def test_tokenizer_without_t5_tokens_is_refused(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    model = tokenizers.models.WordLevel({"[UNK]": 0}, unk_token="[UNK]")
    tokenizers.Tokenizer(model).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UserError, match=r"no token <pad> or \[PAD\]"):
        load_vocabulary(tmp_path)


def test_missing_tokenizers_library_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps({}))
    real_import = builtins.__import__

    def no_tokenizers(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "tokenizers":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_tokenizers)
    with pytest.raises(UserError, match=r"distill-jax\[hf\]"):
        load_vocabulary(tmp_path)
