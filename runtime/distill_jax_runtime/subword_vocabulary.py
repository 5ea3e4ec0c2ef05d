"""The subwords of an exported model: its vocabulary's file, and `subwords.json`, which says how it is used.

`subwords.json` has the `kind` of the vocabulary (`huggingface`: a `tokenizer.json`; `sentencepiece`: a
`spiece.model`; `byte`: none) and the name of its `file`; the ids `pad_id`, `unk_id`, `prefix_ids` and
`suffix_ids`; `reserved_ids`, which text never becomes; and `max_tokens` and `overlap_words` of windows. The
libraries `tokenizers` and `sentencepiece` are imported where a model needs one.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from distill_jax_runtime.directory import SUBWORDS_FILE
from distill_jax_runtime.errors import UserError
from distill_jax_runtime.json_files import read_json_object
from distill_jax_runtime.tokenizer_file import text_tokenizer

BYTE_OFFSET = 3
"""Byte b has the id b + 3, as in ByT5."""

_NUMBERS = ("pad_id", "unk_id", "max_tokens", "overlap_words")
_LISTS = ("prefix_ids", "suffix_ids", "reserved_ids")


class ExportedSubwords:
    """What `subwords.json` in a directory says; a `pieces.Subwords`.

    Raises:
        UserError: naming the file, if one is missing or malformed, or a library is not installed.
    """

    def __init__(self, directory: Path) -> None:
        path = directory / SUBWORDS_FILE
        fields = read_json_object(path, "export the model anew")
        for name in (*_NUMBERS, *_LISTS):
            if not _is_as_written(fields.get(name), many=name in _LISTS):
                raise UserError(f"{path}: `{name}` is missing or malformed; export the model anew")
        self.pad_id, self.unk_id, self.max_tokens, self.overlap_words = (
            fields[name] for name in _NUMBERS
        )
        self.prefix_ids, self.suffix_ids = (tuple(fields[name]) for name in _LISTS[:2])
        self._reserved = frozenset(fields["reserved_ids"])
        make = _ENCODERS.get(fields.get("kind", ""))
        if make is None:
            raise UserError(
                f"{path}: vocabularies of the kind {fields.get('kind')!r} are unknown to this "
                "distill_jax_runtime; install a newer one"
            )
        self._encode = make(directory / Path(str(fields.get("file"))).name)

    def encode(self, text: str) -> list[int]:
        """See `pieces.Subwords`."""
        return without_reserved(self._encode(without_surrogates(text)), self._reserved, self.unk_id)


def without_reserved(ids: list[int], reserved: frozenset[int], unk_id: int) -> list[int]:
    """The ids with `unk_id` in place of those that text must not become."""
    if reserved.isdisjoint(ids):
        return ids
    return [unk_id if i in reserved else i for i in ids]


def without_surrogates(text: str) -> str:
    """`text` with lone surrogates, which UTF-8 cannot hold, as U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _is_as_written(value: Any, *, many: bool) -> bool:
    numbers = value if many else [value]
    return isinstance(numbers, list) and all(type(number) is int for number in numbers)


_Encode = Callable[[str], list[int]]


def _huggingface(path: Path) -> _Encode:
    try:
        import tokenizers
    except ImportError:
        raise _lacking("tokenizers", path) from None
    try:
        tokenizer = text_tokenizer(tokenizers, path.read_bytes())
    except Exception as error:  # the library raises bare Exception
        raise UserError(
            f"{path}: the installed `tokenizers` cannot read it ({error}); install a newer one"
        ) from error

    def encode(text: str) -> list[int]:
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    return encode


def _sentencepiece(path: Path) -> _Encode:
    try:
        import sentencepiece
    except ImportError:
        raise _lacking("sentencepiece", path) from None
    processor = sentencepiece.SentencePieceProcessor(model_proto=path.read_bytes())

    def encode(text: str) -> list[int]:
        ids: list[int] = processor.encode(text)
        return ids

    return encode


def _lacking(library: str, path: Path) -> UserError:
    return UserError(
        f"{path}: reading it needs `{library}`, which is not installed; pip install "
        "'distill_jax_runtime[subwords]' (or, with distill_jax, 'distill_jax[onnx]')"
    )


_ENCODERS: dict[str, Callable[[Path], _Encode]] = {
    "huggingface": _huggingface,
    "sentencepiece": _sentencepiece,
    "byte": lambda _: lambda text: [byte + BYTE_OFFSET for byte in text.encode()],
}
