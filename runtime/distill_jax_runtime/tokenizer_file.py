"""The `tokenizer.json` of the `tokenizers` library, changed so that text is text."""

import json
import re
from collections.abc import Callable
from typing import Any

SENTINEL_PATTERN = re.compile(r"<extra_id_\d+>")
SPACE_MARK = "▁"  # U+2581, how SentencePiece writes a space inside a piece

CONTROL = {"pad": ("<pad>", "[PAD]"), "eos": ("</s>", "[SEP]"), "unk": ("<unk>", "[UNK]")}
"""The control tokens, each with its name in T5 and RoBERTa and in BERT and ELECTRA."""


def text_tokenizer(tokenizers: Any, file: bytes) -> Any:
    """A `tokenizers.Tokenizer` of the `tokenizer.json` in `file` that text alone goes into (`text_only`).

    Raises `ValueError` if an added token cannot keep its id, and what the library raises for a bad file.
    """
    text = text_only(file)
    tokenizer = tokenizers.Tokenizer.from_str(text)
    for token in json.loads(text)["added_tokens"]:
        found = tokenizer.token_to_id(token["content"])
        if found != token["id"]:
            raise ValueError(
                f"the added token {token['content']!r} has the id {token['id']}, which the library makes "
                f"{found}"
            )
    return tokenizer


def text_only(file: bytes) -> str:
    """The `tokenizer.json` in `file`, changed so that text cannot reach its special tokens.

    As added tokens they would be cut out of the text, and as pieces of a unigram model they would
    be found in it. A piece holding a space is never found, since spaces are turned into `▁` first.
    The library numbers added tokens that its model lacks anew, behind those there are; so the model gets
    them, special ones as pieces that are never found.
    """
    data = json.loads(file)
    added = data.get("added_tokens") or []
    names = {name for both in CONTROL.values() for name in both}
    special = {t["content"] for t in added if t.get("special")} | names

    def is_special(name: str) -> bool:
        bare = name.removeprefix(SPACE_MARK)
        return name in special or SENTINEL_PATTERN.fullmatch(bare) is not None

    data["added_tokens"] = [token for token in added if not is_special(token["content"])]
    data["post_processor"] = data["truncation"] = data["padding"] = None
    model = data["model"]
    vocab = model.get("vocab")
    if isinstance(vocab, list):  # a unigram model: [piece, score] in the order of ids
        known = {piece for piece, _ in vocab}
        vocab = [[f" {piece}" if is_special(piece) else piece, score] for piece, score in vocab]
        for token in sorted(added, key=lambda token: token["id"]):
            if token["content"] not in known and token["id"] == len(vocab):
                vocab.append([_piece(token, is_special), 0.0])
        model["vocab"] = vocab
    elif isinstance(vocab, dict):
        missing = [token for token in added if token["content"] not in vocab]
        model["vocab"] = vocab | {_piece(token, is_special): token["id"] for token in missing}
    return json.dumps(data)


def _piece(token: dict[str, Any], is_special: Callable[[str], bool]) -> str:
    # One that is found as a whole word alone must not be found within another.
    hidden = is_special(token["content"]) or token.get("single_word")
    return f" {token['content']}" if hidden else str(token["content"])
