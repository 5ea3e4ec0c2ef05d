"""The `tokenizer.json` of Hugging Face's `tokenizers` library.

Those of T5, and of BERT and its like: WordPiece, BPE or Unigram. The special tokens are removed from it
before text is encoded, so a word that looks like one gets the ids that SentencePiece would give it,
and never a control id. A byte-level BPE reads each text as if a space stood before it, as the words
of a sentence have but for the first; transformers calls that `add_prefix_space=True`.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distill_jax.errors import UserError
from distill_jax.files import atomic_write
from distill_jax.vocab.base import (
    VOCABULARY_FILE,
    Vocabulary,
    hash_of_file,
    read_vocabulary_file,
    sentinels_by_name,
)
from distill_jax_runtime.tokenizer_file import CONTROL, text_tokenizer

HUGGINGFACE_FILE = "tokenizer.json"


class HuggingFaceVocabulary(Vocabulary):
    """A `tokenizer.json` of the `tokenizers` library, with T5's or BERT's names for the special tokens.

    Args:
        path: the file, or a directory holding `tokenizer.json`.
        content: of a `tokenizer.json` made from the file at `path`, which is then only named.

    Truncation and padding in the file are ignored; its post-processor says what stands around a
    sequence (without one, an eos behind it), and is not applied to text.

    Raises:
        UserError: the `tokenizers` library is not installed, the file is missing or damaged, or it
            has no token for padding, the end of a sequence or the unknown.
    """

    kind = "huggingface"

    def __init__(self, path: str | os.PathLike[str], content: bytes | None = None) -> None:
        path = Path(path)
        if path.is_dir():
            path = path / HUGGINGFACE_FILE
        self._file = read_vocabulary_file(path) if content is None else content
        tokenizers = import_tokenizers(path)
        try:
            self._file = _with_space_before(self._file)
            whole = tokenizers.Tokenizer.from_str(self._file.decode())
            added = json.loads(self._file).get("added_tokens") or []
            self._tokenizer = text_tokenizer(tokenizers, self._file)
            prefix, suffix = _around_text(whole)
        except Exception as error:  # the library raises bare Exception on a bad file
            raise UserError(
                f"{path}: not a tokenizer of the `tokenizers` library, or damaged ({error}); "
                "save it again from transformers"
            ) from error
        control: dict[str, int] = {}
        for what, names in CONTROL.items():
            found = [i for name in names if (i := whole.token_to_id(name)) is not None]
            if not found:
                raise UserError(
                    f"{path}: the tokenizer has no token {' or '.join(names)}; use one of a T5, BERT, "
                    "ELECTRA or RoBERTa"
                )
            control[what] = found[0]
        super().__init__(
            size=max(whole.get_vocab(with_added_tokens=True).values()) + 1,
            sentinel_ids=sentinels_by_name(whole.token_to_id),
            pad_id=control["pad"],
            eos_id=control["eos"],
            unk_id=control["unk"],
            prefix_ids=prefix,
            suffix_ids=suffix,
            other_special_ids=[token["id"] for token in added if token.get("special")],
        )
        roles = {"unk": self.unk_id, "pad": self.pad_id, "eos": self.eos_id, "sep": self.eos_id}
        if self.prefix_ids:
            roles |= {"bos": self.prefix_ids[0], "cls": self.prefix_ids[0]}
        self._names = {f"{role}_token": whole.id_to_token(i) for role, i in roles.items()}

    @property
    def files(self) -> tuple[str, ...]:
        return (HUGGINGFACE_FILE, VOCABULARY_FILE)

    def content_hash(self) -> str:
        return hash_of_file(self.kind, self._file, 0)

    def transformers_config(self, max_tokens: int | None) -> dict[str, Any]:
        """See `Vocabulary.transformers_config`: the file is read as it is.

        Without one transformers builds a model's tokenizer anew: in lower case, or without the space
        before the first word.
        """
        return {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "add_prefix_space": True,
            # Not the types of tokens, which a T5 takes none of, and which are all the same elsewhere.
            "model_input_names": ["input_ids", "attention_mask"],
            "clean_up_tokenization_spaces": False,
            **super().transformers_config(max_tokens),
            **self._names,
        }

    def save(self, directory: str | os.PathLike[str]) -> None:
        path = Path(directory) / HUGGINGFACE_FILE
        with atomic_write(path) as temporary:
            temporary.write_bytes(self._file)
        self._save_sidecar(path.parent, file=path.name)

    def _encode_text(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def _decode_text(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=False)
        return text.strip()


def _with_space_before(file: bytes) -> bytes:
    """The file, changed if need be so that a byte-level pre-tokenizer has a space before a text."""
    data = json.loads(file)
    parts = list(_pre_tokenizers(data.get("pre_tokenizer") or {}))
    levels = [part for part in parts if part.get("type") == "ByteLevel"]
    if not levels or levels[0].get("add_prefix_space"):
        return file
    if levels[0] is parts[0]:
        levels[0]["add_prefix_space"] = True
    else:  # it would put one before each piece that those before it make
        before = data.get("normalizer")
        space = {"type": "Prepend", "prepend": " "}
        normalizers = [space] if before is None else [before, space]
        data["normalizer"] = {"type": "Sequence", "normalizers": normalizers}
    return json.dumps(data, ensure_ascii=False).encode()


def _pre_tokenizers(part: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Those that do something, in order."""
    if part.get("type") != "Sequence":
        yield part
        return
    for one in part.get("pretokenizers") or ():
        yield from _pre_tokenizers(one)


def _around_text(whole: Any) -> tuple[list[int], list[int] | None]:
    """The special tokens that a tokenizer's post-processor puts before and behind a text.

    None behind where it puts nothing anywhere.
    """
    whole.no_truncation()
    whole.no_padding()
    encoded = whole.encode("a")
    special = encoded.special_tokens_mask
    if 1 not in special or 0 not in special:
        return [], None
    first, last = special.index(0), len(special) - special[::-1].index(0)
    return encoded.ids[:first], encoded.ids[last:]


def import_tokenizers(path: Path) -> Any:
    """The `tokenizers` library; `UserError` naming the file that needs it if it is not installed."""
    try:
        import tokenizers
    except ImportError as error:
        raise UserError(
            f"{path}: reading a tokenizer.json needs the `tokenizers` library; "
            "pip install 'distill-jax[hf]'"
        ) from error
    return tokenizers
