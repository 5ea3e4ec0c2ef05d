"""WordPiece, byte-level BPE and Unigram as BERT and its like have them, against `tokenizers` itself."""

import json
from pathlib import Path
from typing import Any

import pytest

from distill_jax.errors import UserError
from distill_jax.sent.subwords import SubwordFormat
from distill_jax.vocab import load_vocabulary
from tests.tiny_bert import write_wordpieces

tokenizers = pytest.importorskip("tokenizers")

PIECES = ("play", "jazz", "##y", "mun", "##ich", "'", "s", "what", "café", "cafe")
SENTENCE = ["Play", "jazzy", "what's", "Munich", "unheard"]
TEXT = ["play some jazz in munich", "what's the weather", "play it again"] * 4
ROBERTA = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def bpe() -> Any:
    """RoBERTa's: no space before the first word unless asked for."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=320, special_tokens=ROBERTA, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    tokenizer.post_processor = tokenizers.processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return tokenizer


def unigram() -> Any:
    """XLM-R's."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.Unigram())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    trainer = tokenizers.trainers.UnigramTrainer(
        vocab_size=60, special_tokens=ROBERTA, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer


@pytest.mark.parametrize("make", [bpe, unigram])
def test_roberta_and_xlm_r(make: Any, tmp_path: Path) -> None:
    reference = make()
    reference.enable_truncation(4)
    reference.enable_padding(length=64)
    reference.save(str(tmp_path / "tokenizer.json"))
    vocabulary = load_vocabulary(tmp_path)
    assert (vocabulary.pad_id, vocabulary.eos_id, vocabulary.unk_id) == (1, 2, 3)
    assert (vocabulary.prefix_ids, vocabulary.suffix_ids) == ((0,), (2,))
    tokens, first = SubwordFormat(vocabulary).encode(SENTENCE)
    reference.no_truncation()
    reference.no_padding()
    if make is bpe:  # what transformers sets for words, by add_prefix_space=True
        reference.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=True)
    expected = reference.encode(SENTENCE, is_pretokenized=True)
    assert tokens.tolist() == expected.ids
    assert first.tolist() == [expected.word_ids.index(word) for word in range(len(SENTENCE))]
    vocabulary.save(tmp_path / "saved")
    again = load_vocabulary(tmp_path / "saved")
    assert again.content_hash() == vocabulary.content_hash()
    assert SubwordFormat(again).encode(SENTENCE)[0].tolist() == expected.ids
    saved = tokenizers.Tokenizer.from_file(str(tmp_path / "saved" / "tokenizer.json"))
    saved.no_truncation()
    saved.no_padding()
    assert saved.encode(SENTENCE, is_pretokenized=True).ids == expected.ids  # for others too
    assert not {0, 1, 2, 4} & set(vocabulary.encode("<s> <pad> </s> <mask>"))


def test_a_vocab_txt_is_read_as_transformers_reads_it(tmp_path: Path) -> None:
    write_wordpieces(tmp_path, PIECES)
    vocabulary = load_vocabulary(tmp_path)
    ids = {piece: 5 + number for number, piece in enumerate(PIECES)}
    assert (vocabulary.pad_id, vocabulary.unk_id) == (0, 1)
    assert (vocabulary.prefix_ids, vocabulary.suffix_ids) == ((2,), (3,))
    tokens, first = SubwordFormat(vocabulary).encode(SENTENCE)
    names = ["play", "jazz", "##y", "what", "'", "s", "mun", "##ich"]
    assert tokens.tolist() == [2, *(ids[name] for name in names), 1, 3]
    assert first.tolist() == [1, 2, 4, 7, 9]
    assert vocabulary.encode("Café") == [ids["cafe"]]  # lower case strips accents
    assert 2 not in vocabulary.encode("[CLS]") and 4 not in vocabulary.encode("[MASK]")
    bert = tokenizers.BertWordPieceTokenizer(str(tmp_path / "vocab.txt"), lowercase=True)
    assert bert.encode(SENTENCE, is_pretokenized=True).ids == tokens.tolist()

    vocabulary.save(tmp_path / "saved")
    again = load_vocabulary(tmp_path / "saved")
    assert again.content_hash() == vocabulary.content_hash()
    assert SubwordFormat(again).encode(SENTENCE)[0].tolist() == tokens.tolist()


def test_case_is_what_the_configuration_says(tmp_path: Path) -> None:
    write_wordpieces(tmp_path, PIECES, do_lower_case=False)
    cased = load_vocabulary(tmp_path)
    assert cased.encode("Play") == [1] and cased.encode("play") == [5]
    assert cased.encode("café") == [5 + PIECES.index("café")]
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps({"do_lower_case": "yes"}))
    with pytest.raises(UserError, match=r"tokenizer_config\.json: do_lower_case is 'yes'"):
        load_vocabulary(tmp_path)
    path.unlink()
    with pytest.raises(UserError, match=r"nothing says whether vocab\.txt is of lower case"):
        load_vocabulary(tmp_path)
    write_wordpieces(tmp_path, PIECES)
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\nplay\n")
    with pytest.raises(UserError, match=r"vocab\.txt: has no line \[SEP\]"):
        load_vocabulary(tmp_path)


def with_added_tokens(tokenizer: Any) -> Any:
    """Special tokens that the model lacks, others behind them, and one more special one."""
    tokenizer.add_special_tokens(["[E1]", "[E2]"])
    tokenizer.add_tokens(["covid", "sars"])
    tokenizer.add_special_tokens(["[E3]"])
    tokenizer.add_tokens(["mers"])
    return tokenizer


def wordpieces() -> Any:
    ids = {
        piece: number for number, piece in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", *PIECES))
    }
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    return tokenizer


@pytest.mark.parametrize("make", [wordpieces, bpe, unigram])
def test_added_tokens_keep_their_ids(make: Any, tmp_path: Path) -> None:
    reference = with_added_tokens(make())
    reference.save(str(tmp_path / "tokenizer.json"))
    vocabulary = load_vocabulary(tmp_path)
    ids = [reference.token_to_id(token) for token in ("covid", "sars", "mers")]
    assert ids == sorted(ids) and vocabulary.size == ids[-1] + 1
    assert [i for i in vocabulary.encode("covid sars mers") if i in ids] == ids
    of_special = {reference.token_to_id(token) for token in ("[E1]", "[E2]", "[E3]")}
    assert not of_special & set(vocabulary.encode("[E1] [E2] [E3]"))


def test_a_vocab_txt_has_the_tokens_added_beside_it(tmp_path: Path) -> None:
    write_wordpieces(tmp_path, PIECES)
    beside = tmp_path / "added_tokens.json"
    beside.write_text(json.dumps({"covid": 16, "sars": 15}))
    vocabulary = load_vocabulary(tmp_path)
    assert vocabulary.encode("play covid sars") == [5, 16, 15] and vocabulary.size == 17
    beside.write_text(json.dumps({"covid": 20}))
    with pytest.raises(UserError, match=r"vocab.txt: .*'covid' has the id 20 there, and 15"):
        load_vocabulary(tmp_path)


@pytest.mark.parametrize(
    "changed",
    [
        {"tokenizer_class": "BertJapaneseTokenizer"},
        {"word_tokenizer_type": "mecab"},
        {"subword_tokenizer_type": "character"},
        {"do_basic_tokenize": False},
    ],
)
def test_a_vocab_txt_of_another_tokenizer_is_refused(
    changed: dict[str, Any], tmp_path: Path
) -> None:
    write_wordpieces(tmp_path, PIECES)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    with pytest.raises(UserError, match=f"{next(iter(changed))} is .*get the tokenizer.json"):
        load_vocabulary(tmp_path)


def test_no_space_is_put_within_a_word(tmp_path: Path) -> None:
    """A byte level behind another pre-tokenizer gets pieces of a word."""
    reference = bpe()
    digits = tokenizers.pre_tokenizers.Digits(individual_digits=True)
    level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    reference.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([digits, level])
    reference.save(str(tmp_path / "tokenizer.json"))
    vocabulary = load_vocabulary(tmp_path)
    for word in ("play52", "5", "jazz"):
        assert vocabulary.encode(word) == reference.encode(f" {word}", add_special_tokens=False).ids
