"""The label set of a task: its names, the text each is verbalised as, and its sBIO ids.

The label file holds one `name` or `name<TAB>text` a line, UTF-8, in the order of the ids.
"""

import os
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distill_jax.errors import UserError
from distill_jax.files import atomic_write, sha256_json
from distill_jax.tagging.sentence import Sentence
from distill_jax_runtime.spans import Span, iob2_from_spans, spans_from_iob2, spans_from_sbio

_SPECIAL = ("O", "I")
_UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")  # control, lone surrogate, line and paragraph separator
_TO_SPACE = str.maketrans("_-.", "   ")


def default_text(name: str) -> str:
    """The text of a label that is given none: `_`, `-` and `.` become spaces, case is kept."""
    return name.translate(_TO_SPACE).strip()


@dataclass(frozen=True)
class LabelSet:
    """Labels in a fixed order, and the sBIO tag set made of them: O (id 0), I (id 1), labels.

    `texts` left empty stands for the default text of every name.

    Raises `UserError` if there is no label; if a name or text is empty, occurs twice, is `O` or
    `I`, or has a control character or space at its ends; or if texts and names differ in number.
    """

    names: tuple[str, ...]
    texts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.names:
            raise UserError("a label set needs at least one label; name the labels of the task")
        texts = self.texts or tuple(map(default_text, self.names))
        if len(texts) != len(self.names):
            raise UserError(
                f"a label set has {len(self.names)} names but {len(texts)} texts; give each one"
            )
        if problem := _first_problem(self.names, texts):
            position, reason = problem
            raise UserError(f"label {position + 1} of the label set: {reason}")
        object.__setattr__(self, "texts", texts)

    @property
    def tags(self) -> tuple[str, ...]:
        """The sBIO tags in the order of their ids: `("O", "I", *names)`."""
        return (*_SPECIAL, *self.names)

    @property
    def tag_texts(self) -> tuple[str, ...]:
        """What each tag is verbalised as, in the order of the ids: `("O", "I", *texts)`."""
        return (*_SPECIAL, *self.texts)

    @property
    def num_tags(self) -> int:
        """The size K of the sBIO tag set: the number of labels plus two."""
        return len(self.names) + len(_SPECIAL)

    def index(self, tag: str) -> int:
        """The id of an sBIO tag. Raises `UserError` if the set does not have it."""
        try:
            return self._ids[tag]
        except KeyError:
            raise UserError(
                f"tag {tag!r} is not in the label set ({_some(self.names)}); "
                "add it to the label file or correct the tag"
            ) from None

    def encode_iob2(self, tags: Sequence[str]) -> NDArray[np.int32]:
        """The sBIO ids, int32[L], of the IOB2 tags of L words, read as conlleval reads them.

        Raises `UserError` naming the first tag whose label is outside the set.
        """
        ids = np.zeros(len(tags), np.int32)
        for start, end, label in spans_from_iob2(tags):
            # Looked up here, not by `index`: labels named like a special tag must fail too.
            if label not in self._ids or label in _SPECIAL:
                raise UserError(
                    f"tag {tags[start]!r} of word {start + 1}: label {label!r} is not in the label "
                    f"set ({_some(self.names)}); add it to the label file or correct the tag"
                )
            ids[start] = self._ids[label]
            ids[start + 1 : end] = 1
        return ids

    def encode_known_iob2(self, tags: Sequence[str]) -> tuple[NDArray[np.int32], list[Span]]:
        """As `encode_iob2`, for tags of which some may be of labels outside the set.

        Returns the ids, -1 for every word of a span whose label is outside, and these spans.
        """
        spans = spans_from_iob2(tags)
        unknown = [span for span in spans if span.label not in self.names]
        known = [span for span in spans if span.label in self.names]
        ids = self.encode_iob2(iob2_from_spans(known, len(tags)))
        for start, end, _ in unknown:
            ids[start:end] = -1
        return ids, unknown

    def decode_iob2(self, ids: Sequence[int] | NDArray[np.integer]) -> list[str]:
        """The IOB2 tags of the sBIO ids of L words; an `I` with nothing to continue becomes `O`.

        Raises `ValueError` for an id outside 0 … num_tags - 1.
        """
        array = np.asarray(ids, np.int64)
        if array.size and not (array.min() >= 0 and array.max() < self.num_tags):
            raise ValueError(f"sBIO ids must lie in 0 to {self.num_tags - 1}, not {array.tolist()}")
        all_tags = self.tags
        spans = spans_from_sbio([all_tags[i] for i in array.tolist()])
        return iob2_from_spans(spans, len(array))

    def with_texts(self, texts: Mapping[str, str]) -> "LabelSet":
        """The same labels with other texts for those of them that `texts` names.

        Raises `UserError` if `texts` names a label that is not in the set, or gives one a text that
        cannot be.
        """
        for name in texts:
            if name not in self.names:
                raise UserError(
                    f"a text is given for {name!r}, which is not in the label set "
                    f"({_some(self.names)}); correct the name"
                )
        old = zip(self.names, self.texts, strict=True)
        return LabelSet(self.names, tuple(texts.get(name, text) for name, text in old))

    def content_hash(self) -> str:
        """SHA-256 (hex) of names and texts in their order; the same in every process."""
        return sha256_json({"names": list(self.names), "texts": list(self.texts)})

    @classmethod
    def from_sentences(cls, sentences: Iterable[Sentence]) -> "LabelSet":
        """The labels in the tags of the sentences, sorted; untagged sentences add none.

        Raises `UserError` if no span is labelled or the labels make no valid set.
        """
        names = {
            span.label for sentence in sentences for span in spans_from_iob2(sentence.tags or ())
        }
        if not names:
            raise UserError("no sentence has a labelled span; give data with tags or a label file")
        return cls(tuple(sorted(names)))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the label file; a text is written only where it is not the default."""
        lines = [
            name if text == default_text(name) else f"{name}\t{text}"
            for name, text in zip(self.names, self.texts, strict=True)
        ]
        with atomic_write(path) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in lines), "utf-8", newline="\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "LabelSet":
        """Reads a label file. Raises `UserError` naming file, line, reason and remedy."""
        names: list[str] = []
        texts: list[str] = []
        for number, line in enumerate(_lines(path), 1):
            name, tab, text = line.partition("\t")
            if "\t" in text:
                raise UserError(
                    f"{path}:{number}: more than one tab; write 'name' or 'name<TAB>text'"
                )
            names.append(name)
            texts.append(text if tab else default_text(name))
        if not names:
            raise UserError(f"{path}:1: the label file is empty; write one label a line")
        if problem := _first_problem(names, texts):
            position, reason = problem
            raise UserError(f"{path}:{position + 1}: {reason}")
        return cls(tuple(names), tuple(texts))

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {tag: i for i, tag in enumerate(self.tags)}


def _lines(path: str | os.PathLike[str]) -> list[str]:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(
            f"{path}: cannot read the label file ({error.strerror}); give an existing file"
        ) from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}:{number}: not UTF-8 text; save the label file as UTF-8") from None
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    while lines and not lines[-1]:  # the end of the last line, and blank lines after it
        lines.pop()
    return lines


def _first_problem(names: Sequence[str], texts: Sequence[str]) -> tuple[int, str] | None:
    """The position of the first unusable label and what is wrong with it, or None."""
    seen_names: set[str] = set()
    seen_texts: dict[str, str] = {}
    for position, (name, text) in enumerate(zip(names, texts, strict=True)):
        reason = _unusable("name", name) or _unusable("text", text)
        if reason:
            whose = f" (of label {name!r})" if name.strip() else ""
            return position, reason + whose
        if name in seen_names:
            return position, f"label name {name!r} occurs twice; remove one"
        same = " ".join(text.split())  # tokenisers see no difference between one space and two
        if same in seen_texts:
            return position, (
                f"labels {seen_texts[same]!r} and {name!r} have the same text {text!r}; "
                "give one of them another text after a tab"
            )
        seen_names.add(name)
        seen_texts[same] = name
    return None


def _unusable(kind: str, value: str) -> str | None:
    if not value.strip():
        return f"the label {kind} is empty; write one"
    if value in _SPECIAL:
        return f"label {kind} {value!r} is one of the tags that every set has; choose another"
    if value != value.strip() or any(unicodedata.category(c) in _UNPRINTABLE for c in value):
        return (
            f"label {kind} {value!r} has a control character or a space at its ends; "
            "write it without"
        )
    return None


def _some(names: Sequence[str], most: int = 5) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown}, … {len(names)} in all"
