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
