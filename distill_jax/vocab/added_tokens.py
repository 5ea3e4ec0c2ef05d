"""Tokens that were added to a SentencePiece model after it was trained, as transformers keeps them.

They lie in files beside the model: `added_tokens.json` (`{token: id}`), `added_tokens_decoder` in
`tokenizer_config.json` (id → token with its flags), `added_tokens` in `tokenizer.json` (a list of the
same). All that are there are read, and must agree. A token that is not special is found anywhere in
text, the longest first; the text around it is encoded piece by piece, as transformers does for T5 (its
default, "legacy"). transformers 5 looks for it in normalised text (a full-width `｛` is `{`), and so does
this module; transformers 4 looked in the text as it stood.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from distill_jax.errors import UserError
from distill_jax.files import read_json_object

TOKENIZER_CONFIG = "tokenizer_config.json"
_ADDED_TOKENS, _SPECIAL_TOKENS, _TOKENIZER = (
    "added_tokens.json",
    "special_tokens_map.json",
    "tokenizer.json",
)
_AGAIN = "save the tokenizer again from transformers"


class AddedToken(NamedTuple):
    """A token with an id of its own.

    `special` ones are control tokens: text never becomes one. `normalized` says that the token is
    looked for in normalised text.
    """

    content: str
    id: int
    special: bool = False
    normalized: bool = True


class Matcher:
    """Finds tokens in text, of those that begin at one place the longest."""

    def __init__(self, ids: Mapping[str, int]) -> None:
        """`ids` has the id of each token."""
        longest_first = sorted(ids, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if ids else None
        self._ids = dict(ids)

    def split(self, text: str) -> Iterator[str | int]:
        """The ids of the tokens in `text`, and the text between them."""
        if self._pattern is None:
            yield text
            return
        end = 0
        for match in self._pattern.finditer(text):
            if match.start() > end:
                yield text[end : match.start()]
            yield self._ids[match[0]]
            end = match.end()
        if end < len(text):
            yield text[end:]


def added_tokens_beside(model: Path) -> tuple[AddedToken, ...]:
    """The tokens that the files beside a SentencePiece model add to it, sentinels among them.

    Raises `UserError` if a file is malformed, if two contradict each other, or if a token is to be
    found only as a whole word.
    """
    config, added, tokenizer = (
        model.with_name(name) for name in (TOKENIZER_CONFIG, _ADDED_TOKENS, _TOKENIZER)
    )
    found: dict[str, tuple[AddedToken, Path]] = {}
    for path, tokens in (
        (config, _of_config(config)),
        (tokenizer, _of_tokenizer(tokenizer)),
        (added, _of_added(added)),
    ):
        for token in tokens:
            other, where = found.setdefault(token.content, (token, path))
            if other.id != token.id:
                raise UserError(
                    f"{path}: token {token.content!r} has the id {token.id}, but {other.id} in "
                    f"{where.name}; {_AGAIN}, or remove the file that is out of date"
                )
    return tuple(token for token, _ in found.values())


def tokens_of_json(fields: Any, path: Path) -> list[AddedToken]:
    """Tokens from a list of objects (`content`, `id` and flags). Raises `UserError` if it is none."""
    if not isinstance(fields, list):
        raise UserError(f"{path}: the added tokens are no list; {_AGAIN}")
    return [_token(one, path) for one in fields]


def config_with(tokens: Sequence[AddedToken], extra_ids: int) -> dict[str, Any]:
    """A `tokenizer_config.json` from which transformers reads these tokens."""
    return {
        "tokenizer_class": "T5Tokenizer",
        "extra_ids": extra_ids,
        "added_tokens_decoder": {
            str(token.id): {
                "content": token.content,
                "lstrip": False,
                "normalized": token.normalized,
                "rstrip": False,
                "single_word": False,
                "special": token.special,
            }
            for token in tokens
        },
    }


def _of_config(path: Path) -> list[AddedToken]:
    fields = _read(path).get("added_tokens_decoder") or {}
    if not isinstance(fields, dict) or not all(str(i).isdecimal() for i in fields):
        raise UserError(f"{path}: added_tokens_decoder has no tokens by their ids; {_AGAIN}")
    tokens = [(value, int(i)) for i, value in fields.items()]
    return [
        _token({**value, "id": i} if isinstance(value, dict) else value, path)
        for value, i in tokens
    ]


def _of_tokenizer(path: Path) -> list[AddedToken]:
    return tokens_of_json(_read(path).get("added_tokens") or [], path)


def _of_added(path: Path) -> list[AddedToken]:
    fields = _read(path)
    if not fields:
        return []
    special = set()
    for beside in (TOKENIZER_CONFIG, _SPECIAL_TOKENS):
        named = _read(path.with_name(beside)).get("additional_special_tokens") or []
        if isinstance(named, list):
            special |= {one.get("content") if isinstance(one, dict) else one for one in named}
    return [
        _token({"content": content, "id": i, "special": content in special}, path)
        for content, i in fields.items()
    ]


def _token(fields: Any, path: Path) -> AddedToken:
    content, number = (fields.get(name) if isinstance(fields, dict) else None for name in _NAMES)
    if not isinstance(content, str) or not content or type(number) is not int or number < 0:
        raise UserError(f"{path}: {fields!r} is no token with an id; {_AGAIN}")
    special = fields.get("special") is True
    if fields.get("single_word") is True and not special:
        raise UserError(
            f"{path}: token {content!r} is to be found as a whole word alone (single_word), which is "
            "not supported; add it without in transformers and save the tokenizer again"
        )
    # What a file leaves open is as transformers has it: control tokens are looked for as they stand.
    return AddedToken(content, number, special, fields.get("normalized", not special) is True)


_NAMES = ("content", "id")


def _read(path: Path) -> dict[str, Any]:
    return read_json_object(path, _AGAIN) if path.exists() else {}
