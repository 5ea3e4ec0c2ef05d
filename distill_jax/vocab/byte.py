"""Raw bytes, as in ByT5: never a sentinel, whatever the text."""

import os
from pathlib import Path
from typing import Any

from distill_jax.files import sha256_json
from distill_jax.vocab.base import VOCABULARY_FILE, Vocabulary
from distill_jax_runtime.subword_vocabulary import BYTE_OFFSET


class ByteVocabulary(Vocabulary):
    """UTF-8 bytes, with the ids of Hugging Face's `ByT5Tokenizer`.

    Byte b has id b + 3 and `<extra_id_n>` id 259 + n, for n below 125; 384 ids in all. No
    character is normalised or removed: only the empty string encodes to nothing.
    (ByT5 was pre-trained with the ids of high bytes as its sentinels; those stay text here, since a
    sentinel must never be mistaken for a part of a word.)
    """

    kind = "byte"
    OFFSET = BYTE_OFFSET
    SENTINELS = 125

    def __init__(self) -> None:
        first = self.OFFSET + 256
        super().__init__(
            size=first + self.SENTINELS, sentinel_ids=range(first, first + self.SENTINELS)
        )

    @property
    def files(self) -> tuple[str, ...]:
        return (VOCABULARY_FILE,)

    def content_hash(self) -> str:
        return sha256_json({"kind": self.kind, "sentinels": self.SENTINELS})

    def transformers_config(self, max_tokens: int | None) -> dict[str, Any]:
        """See `Vocabulary.transformers_config`."""
        return {
            "tokenizer_class": "ByT5Tokenizer",
            "extra_ids": self.SENTINELS,
            **super().transformers_config(max_tokens),
        }

    def save(self, directory: str | os.PathLike[str]) -> None:
        self._save_sidecar(Path(directory))

    def _encode_text(self, text: str) -> list[int]:
        return [byte + self.OFFSET for byte in text.encode()]

    def _decode_text(self, ids: list[int]) -> str:
        return bytes(i - self.OFFSET for i in ids).decode(errors="replace")
