"""The `tokenizer.json` of the `tokenizers` library, changed so that text is text."""

import json
import re

SENTINEL_PATTERN = re.compile(r"<extra_id_\d+>")
SPACE_MARK = "▁"  # U+2581, how SentencePiece writes a space inside a piece

CONTROL = {"pad": ("<pad>", "[PAD]"), "eos": ("</s>", "[SEP]"), "unk": ("<unk>", "[UNK]")}
"""The control tokens, each with its name in T5 and RoBERTa and in BERT and ELECTRA."""


def text_only(file: bytes) -> str:
    """The `tokenizer.json` in `file`, changed so that text cannot reach its special tokens.

    As added tokens they would be cut out of the text, and as pieces of a unigram model they would
    be found in it. A piece holding a space is never found, since spaces are turned into `▁` first.
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
    if isinstance(model.get("vocab"), list):  # a unigram model: [piece, score] in the order of ids
        model["vocab"] = [
            [f" {piece}" if is_special(piece) else piece, score] for piece, score in model["vocab"]
        ]
    return json.dumps(data)
