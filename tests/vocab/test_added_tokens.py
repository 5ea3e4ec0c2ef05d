"""Tokens added to a SentencePiece model: the files that hold them, their ids, what is refused."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from distill_jax.errors import UserError
from distill_jax.vocab import SentencePieceVocabulary, Vocabulary, load_vocabulary
from distill_jax.vocab.sentencepiece import train_sentencepiece

SENTINELS = 10


def flags(content: str, **changes: Any) -> dict[str, Any]:
    """A token as transformers writes it."""
    plain = dict.fromkeys(("lstrip", "rstrip", "single_word", "special"), False)
    return {"content": content, "normalized": True, **plain, **changes}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> SentencePieceVocabulary:
    texts = ["play wow by jon theodore", "what is the weather in paris {}", "a b c x y z"]
    return train_sentencepiece(texts, 80, tmp_path_factory.mktemp("plain"), extra_ids=SENTINELS)


@pytest.fixture
def folder(trained: SentencePieceVocabulary, tmp_path: Path) -> Path:
    """A checkpoint's folder: the model, and how many sentinels there are."""
    trained.save(tmp_path)
    (tmp_path / "vocabulary.json").unlink()
    write(tmp_path, "tokenizer_config", extra_ids=SENTINELS)
    return tmp_path


def write(folder: Path, name: str, **fields: Any) -> None:
    (folder / f"{name}.json").write_text(json.dumps(fields))


def behind(trained: SentencePieceVocabulary, *contents: str) -> dict[str, int]:
    """Tokens with the ids that follow those of the vocabulary, as `add_tokens` gives them."""
    return {content: trained.size + n for n, content in enumerate(contents)}


@pytest.mark.parametrize("where", ["added_tokens", "tokenizer_config", "tokenizer"])
def test_added_tokens_are_found_in_text(
    folder: Path, trained: SentencePieceVocabulary, where: str
) -> None:
    ids = behind(trained, "{", "}", "covid19", "{{")
    if where == "added_tokens":
        write(folder, where, **ids)
    elif where == "tokenizer_config":
        decoder = {str(i): flags(content) for content, i in ids.items()}
        write(folder, where, extra_ids=SENTINELS, added_tokens_decoder=decoder)
    else:
        tokens = [{"id": i, **flags(content)} for content, i in ids.items()]
        write(folder, where, added_tokens=tokens)
    found = load_vocabulary(folder)
    assert found.size == trained.size + 4
    assert found.sentinel_ids.tolist() == trained.sentinel_ids.tolist()
    left, right, covid, two = ids.values()
    assert found.encode("{") == [left]
    assert found.encode("{{{") == [two, left]  # the longest first
    assert found.encode("\uff5b") == [left]  # in normalised text
    a, b = trained.encode("a"), trained.encode("b")
    assert found.encode("a{b") == [*a, left, *b]
    assert found.encode("{a}") == [left, *a, right]
    assert found.encode("covid19 play") == [covid, *trained.encode("play")]
    assert found.encode("play wow") == trained.encode("play wow")
    assert found.decode([*a, left, covid, trained.size - 1]) == "a { covid19 <extra_id_0>"
    assert found.content_hash() != trained.content_hash()


def test_they_are_saved_and_loaded(
    folder: Path, trained: SentencePieceVocabulary, tmp_path_factory: pytest.TempPathFactory
) -> None:
    write(folder, "added_tokens", **behind(trained, "{", "\n", "<sep>"))
    write(folder, "special_tokens_map", additional_special_tokens=["<sep>"])
    found = load_vocabulary(folder)
    assert found.encode("\n") == [trained.size + 1]
    saved = tmp_path_factory.mktemp("saved")
    found.save(saved)
    assert sorted(path.name for path in saved.iterdir()) == sorted(found.files)
    texts = ["{", "a{b", "<sep>", "x\ny", "play"]
    # By our own file, by what transformers reads, and in another process.
    for again in (load_vocabulary(saved), pickle.loads(pickle.dumps(found)), reread(saved)):
        assert [again.encode(text) for text in texts] == [found.encode(text) for text in texts]
        assert again.content_hash() == found.content_hash()


def reread(saved: Path) -> Vocabulary:
    """What is saved, without the file that is ours."""
    (saved / "vocabulary.json").unlink()
    return load_vocabulary(saved)


def test_text_becomes_no_special_token(folder: Path, trained: SentencePieceVocabulary) -> None:
    write(
        folder,
        "tokenizer_config",
        extra_ids=SENTINELS,
        added_tokens_decoder={
            "0": flags("<pad>", special=True),
            "2": flags("<unk>", special=True),
            str(trained.size): flags("<sep>", special=True),
        },
    )
    found = load_vocabulary(folder)
    assert found.size == trained.size + 1
    assert found.encode("a<sep>b") == trained.encode("a<sep>b")
    assert found.decode([trained.size]) == "⁇"


@pytest.mark.parametrize("ascending", [False, True])
def test_sentinels_are_where_the_files_have_them(
    folder: Path, trained: SentencePieceVocabulary, ascending: bool
) -> None:
    first = trained.size - SENTINELS
    ids = list(range(first, first + 30))
    ids = ids if ascending else ids[::-1]
    write(folder, "added_tokens", **{f"<extra_id_{n}>": i for n, i in enumerate(ids)})
    found = load_vocabulary(folder)
    assert found.sentinel_ids.tolist() == ids
    assert found.size == first + 30
    assert found.encode("<extra_id_3>") == trained.encode("<extra_id_3>")


def test_files_that_state_what_is_so_anyway_change_nothing(
    folder: Path, trained: SentencePieceVocabulary
) -> None:
    names = {f"<extra_id_{n}>": int(i) for n, i in enumerate(trained.sentinel_ids)}
    write(folder, "added_tokens", **names)
    assert load_vocabulary(folder).content_hash() == trained.content_hash()


@pytest.mark.parametrize(
    ("name", "fields", "parts"),
    [
        ("added_tokens", {"{": "9"}, ["added_tokens.json", "'{'", "no token with an id"]),
        ("added_tokens", {"{": 5}, ["'{'", "the id 5", "that of"]),
        ("added_tokens", {"{": 900, "}": 900}, ["'{'", "the id 900", "that of '}'"]),
        ("added_tokens", {"</s>": 900}, ["'</s>'", "the id 900", "another than the model's"]),
        ("added_tokens", {"<unk>": 900}, ["'<unk>'", "the id 900"]),
        ("tokenizer_config", {"added_tokens_decoder": []}, []),
        ("tokenizer_config", {"added_tokens_decoder": ["{"]}, ["tokenizer_config.json", "ids"]),
        ("tokenizer_config", {"added_tokens_decoder": {"900": "{"}}, ["'{'", "no token"]),
        (
            "tokenizer_config",
            {"added_tokens_decoder": {"900": flags("{", single_word=True)}},
            ["'{'", "single_word"],
        ),
        ("tokenizer", {"added_tokens": {"{": 900}}, ["tokenizer.json", "no list"]),
    ],
)
def test_what_is_refused(folder: Path, name: str, fields: Any, parts: list[str]) -> None:
    write(folder, name, **fields)
    if not parts:
        load_vocabulary(folder)
        return
    with pytest.raises(UserError) as error:
        load_vocabulary(folder)
    for part in [str(folder), "; ", *parts]:
        assert part in str(error.value)


def test_files_that_contradict_each_other(folder: Path) -> None:
    write(folder, "added_tokens", **{"{": 900})
    write(folder, "tokenizer", added_tokens=[{"id": 901, **flags("{")}])
    with pytest.raises(UserError, match=r"'\{' has the id 900, but 901 in tokenizer.json"):
        load_vocabulary(folder)


GOLDEN = {
    "{": [32100],
    "a{b": [3, 9, 32100, 3, 115],
    "{a}": [32100, 3, 9, 32101],
    "{{": [32100, 32100],
    "play": [577],
    "\uff5b": [32100],
    "\u00e9{": [3, 154, 32100],
    "x~y~z": [3, 226, 32102, 3, 63, 32102, 3, 172],
    "date { time": [833, 32100, 97],
    "<sep>": [3, 2, 7, 15, 102, 3155],
}
"""From `T5Tokenizer` of transformers 5.23.0 on T5's model with the `added_tokens.json` of the test;
transformers 4.57.6 gives the same but for the full-width brace, for which it has [3, 32100]."""


def test_t5_with_added_tokens_equals_transformers(shared_dir: Path, tmp_path: Path) -> None:
    model = (shared_dir / "vocab" / "t5" / "spiece.model").read_bytes()
    (tmp_path / "spiece.model").write_bytes(model)
    write(tmp_path, "added_tokens", **{"{": 32100, "}": 32101, "~": 32102})
    found = load_vocabulary(tmp_path)
    assert found.size == 32103
    assert {text: found.encode(text) for text in GOLDEN} == GOLDEN
    assert [found.sentinel_ids[n] for n in (0, 1, 99)] == [32099, 32098, 32000]
    (tmp_path / "added_tokens.json").unlink()
    # 300 sentinels: transformers 5.23.0 and 4.57.6 give these ids.
    decoder = {str(32299 - n): flags(f"<extra_id_{n}>", special=True) for n in range(300)}
    write(tmp_path, "tokenizer_config", extra_ids=300, added_tokens_decoder=decoder)
    found = load_vocabulary(tmp_path)
    assert found.size == 32300
    assert [found.sentinel_ids[n] for n in (0, 1, 99, 100, 299)] == [
        *(32299, 32298, 32200, 32199, 32000)
    ]
