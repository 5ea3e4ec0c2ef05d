"""BERT's `vocab.txt`, as the `tokenizer.json` that transformers would make of it."""

from pathlib import Path
from typing import Any

from distill_jax.errors import UserError
from distill_jax.files import read_json_object
from distill_jax.vocab.added_tokens import added_tokens_beside
from distill_jax.vocab.base import read_vocabulary_file
from distill_jax.vocab.huggingface import import_tokenizers

WORDPIECE_FILE = "vocab.txt"
_CONFIG = "tokenizer_config.json"
_USUAL: dict[str, tuple[Any, ...]] = {
    "tokenizer_class": (
        None,
        *("BertTokenizer", "BertTokenizerFast", "ElectraTokenizer", "ElectraTokenizerFast"),
    ),
    "word_tokenizer_type": ("basic", None),
    "subword_tokenizer_type": ("wordpiece", None),
    "do_basic_tokenize": (True, None),
}
"""Fields with the values that mean what is done here, the default first."""
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def wordpiece_tokenizer(directory: Path) -> bytes:
    """The content of a `tokenizer.json` for a directory's `vocab.txt`.

    Letter case, accents and Chinese characters are treated as `tokenizer_config.json` says.

    Raises:
        UserError: a file cannot be read, the vocabulary lacks a special token, or
            `tokenizer_config.json` does not say whether text is put in lower case.
    """
    path = directory / WORDPIECE_FILE
    tokenizers = import_tokenizers(path)
    lines = read_vocabulary_file(path).decode("utf-8", "replace").split("\n")
    pieces = [line.rstrip("\r") for line in lines]
    ids = {piece: number for number, piece in enumerate(pieces) if piece}
    if missing := [name for name in _SPECIAL[:4] if name not in ids]:
        raise UserError(f"{path}: has no line {missing[0]}; use the vocab.txt of a BERT")
    flags = _flags(directory / _CONFIG)
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=flags["tokenize_chinese_chars"],
        strip_accents=flags["strip_accents"],
        lowercase=flags["do_lower_case"],
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = tokenizers.decoders.WordPiece()
    around = [(name, ids[name]) for name in ("[SEP]", "[CLS]")]
    tokenizer.post_processor = tokenizers.processors.BertProcessing(*around)
    tokenizer.add_special_tokens([name for name in _SPECIAL if name in ids])
    _add_tokens(tokenizer, tokenizers, path)
    text: str = tokenizer.to_str()
    return text.encode()


def _add_tokens(tokenizer: Any, tokenizers: Any, path: Path) -> None:
    """Adds the tokens that the files beside a `vocab.txt` add to it, with their ids."""
    for token in sorted(added_tokens_beside(path), key=lambda token: token.id):
        if tokenizer.token_to_id(token.content) is None:
            add = tokenizer.add_special_tokens if token.special else tokenizer.add_tokens
            add([tokenizers.AddedToken(token.content, normalized=token.normalized)])
        found = tokenizer.token_to_id(token.content)
        if found != token.id:
            raise UserError(
                f"{path}: of the tokens that files beside it add, {token.content!r} has the id {token.id} "
                f"there, and {found} behind the lines of {path.name}; get the files as they were published"
            )


def _flags(path: Path) -> dict[str, Any]:
    remedy = "get the tokenizer.json, or the file as it was published"
    if not path.exists():
        raise UserError(
            f"{path}: is not there, so nothing says whether {WORDPIECE_FILE} is of lower case; {remedy}"
        )
    fields = {"tokenize_chinese_chars": True, "strip_accents": None, **read_json_object(path)}
    for name, usual in _USUAL.items():
        if (value := fields.get(name, usual[0])) not in usual:
            raise UserError(
                f"{path}: {name} is {value!r}, so that words become subwords otherwise than {WORDPIECE_FILE} "
                "alone says; get the tokenizer.json of the model, or take another model"
            )
    for name, optional in (
        ("do_lower_case", False),
        ("tokenize_chinese_chars", False),
        ("strip_accents", True),
    ):
        value = fields.get(name)
        if not (isinstance(value, bool) or (optional and value is None)):
            raise UserError(f"{path}: {name} is {value!r}, not true or false; {remedy}")
    return fields
