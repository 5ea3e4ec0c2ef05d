"""The `tokenizer.json` of Hugging Face's `tokenizers` library.

The special tokens are removed from it before text is encoded, so a word that looks like one gets the
ids that SentencePiece would give it, and never a control id.
"""

import json
import os
from pathlib import Path

from distill_jax.errors import UserError
from distill_jax.files import atomic_write
from distill_jax.vocab.base import (
    SENTINEL_PATTERN,
    SPACE_MARK,
    VOCABULARY_FILE,
    Vocabulary,
    hash_of_file,
    read_vocabulary_file,
    sentinels_by_name,
)

HUGGINGFACE_FILE = "tokenizer.json"


class HuggingFaceVocabulary(Vocabulary):
    """A `tokenizer.json` of the `tokenizers` library, with T5's names for the special tokens.

    Args:
        path: the file, or a directory holding `tokenizer.json`.

    Truncation, padding and the post-processor (which would add an eos) in the file are ignored.

    Raises:
        UserError: the `tokenizers` library is not installed, the file is missing or damaged, or it
            has no `<pad>`, `</s>` or `<unk>`.
    """

    kind = "huggingface"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        path = Path(path)
        if path.is_dir():
            path = path / HUGGINGFACE_FILE
        self._file = read_vocabulary_file(path)
        try:
            import tokenizers
        except ImportError as error:
            raise UserError(
                f"{path}: reading a tokenizer.json needs the `tokenizers` library; "
                "pip install 'distill-jax[hf]'"
            ) from error
        try:
            whole = tokenizers.Tokenizer.from_str(self._file.decode())
            added = json.loads(self._file).get("added_tokens") or []
            self._tokenizer = tokenizers.Tokenizer.from_str(_text_only(self._file))
        except Exception as error:  # the library raises bare Exception on a bad file
            raise UserError(
                f"{path}: not a tokenizer of the `tokenizers` library, or damaged ({error}); "
                "save it again from transformers"
            ) from error
        control: dict[str, int] = {}
        for name in ("<pad>", "</s>", "<unk>"):
            i = whole.token_to_id(name)
            if i is None:
                raise UserError(f"{path}: the tokenizer has no token {name}; use one of a T5 model")
            control[name] = i
        super().__init__(
            size=max(whole.get_vocab(with_added_tokens=True).values()) + 1,
            sentinel_ids=sentinels_by_name(whole.token_to_id),
            pad_id=control["<pad>"],
            eos_id=control["</s>"],
            unk_id=control["<unk>"],
            other_special_ids=[token["id"] for token in added if token.get("special")],
        )

    @property
    def files(self) -> tuple[str, ...]:
        return (HUGGINGFACE_FILE, VOCABULARY_FILE)

    def content_hash(self) -> str:
        return hash_of_file(self.kind, self._file, 0)

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


def _text_only(file: bytes) -> str:
    """The `tokenizer.json` in `file`, changed so that text cannot reach its special tokens.

    As added tokens they would be cut out of the text, and as pieces of a unigram model they would
    be found in it. A piece holding a space is never found, since spaces are turned into `▁` first.
    """
    data = json.loads(file)
    added = data.get("added_tokens") or []
    special = {t["content"] for t in added if t.get("special")} | {"<pad>", "</s>", "<unk>"}

    def is_special(name: str) -> bool:
        bare = name.removeprefix(SPACE_MARK)
        return name in special or SENTINEL_PATTERN.fullmatch(bare) is not None

    data["added_tokens"] = [token for token in added if not is_special(token["content"])]
    data["post_processor"] = data["truncation"] = data["padding"] = None
    model = data["model"]
    if isinstance(model.get("vocab"), list):  # a unigram model: [piece, score] in the order of ids
        model["vocab"] = [
            [f" {piece}" if is_special(piece) else piece, score] for piece, score in model["vocab"]
        ]
    return json.dumps(data)
