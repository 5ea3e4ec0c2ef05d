"""One JSON object, or one row of a table, as a sentence: fields by their usual names.

| what | fields |
|---|---|
| words | `tokens`, `words`, `tokenized_text` (lists; Prodigy's and spaCy's objects with `text` or offsets) |
| text | `text`, `sentence`, `content`, `utterance`, `query`; Label Studio's `data` |
| tags, one a word | `tags`, `ner_tags`, `labels`, `label`, `ner`, `bio_tags`, `iob_tags`, `token_labels`, … |
| spans in characters | `entities`, `spans`, `label`, `labels`, `ents`, `ner`; Label Studio's `annotations` |

Tags that are integers need names. A field that looks like an annotation and is not one of these is
refused, never skipped.
"""

import itertools
from collections.abc import Sequence
from typing import Any

from distill_jax.data.readers.character_spans import (
    CharacterSpan,
    EndsOfSpans,
    offsets_of,
    tags_of_spans,
)
from distill_jax.data.readers.exports import as_plain_record, character_span, read_tokens
from distill_jax.data.readers.source import Source
from distill_jax.data.readers.tags import is_tag_shaped
from distill_jax.data.readers.text import sentence_of_text
from distill_jax.tagging.sentence import Sentence, TextOrigin
from distill_jax_runtime.spans import Span, iob2_from_spans
from distill_jax_runtime.text import TextWords

WORD_FIELDS = ("tokens", "words", "tokenized_text", "token", "word")
TEXT_FIELDS = ("text", "sentence", "content", "utterance", "query", "document")
_OTHER_TEXTS = ("context", "passage", "paragraph", "utt", "source", "raw")
TAG_FIELDS = (
    "tags",
    "ner_tags",
    "labels",
    "label",
    "ner",
    "tag",
    "ner_tag",
    "ner_labels",
    "bio",
    "bio_tags",
    "iob",
    "iob_tags",
    "iob2_tags",
    "token_labels",
    "entity_tags",
    "slots",
)
SPAN_FIELDS = ("entities", "spans", "label", "labels", "ents", "ner", "annotation")
_IDENTITY = "id"
_ALWAYS_TAGS = ("tags", "ner_tags")  # whatever they hold


def identity(record: Any) -> str | int | None:
    """What a record calls itself, for those who write something about it: a string or a whole number."""
    value = record.get(_IDENTITY) if isinstance(record, dict) else None
    return value if isinstance(value, str | int) and not isinstance(value, bool) else None


class RecordReader:
    """Reads the records of one file."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._read: dict[str, None] = {}  # the fields that were read, in the order seen
        self._seen: dict[str, None] = {}
        self._has_spans = False
        self._rules: dict[TextWords, None] = {}  # by which texts became words
        self._ends = EndsOfSpans()

    def finish(self) -> None:
        """Puts which fields were read into the report.

        Raises `UserError` if all spans of the file end one character short of a word.
        """
        self._ends.finish(self._source)
        report = self._source.report
        layout = f"fields {', '.join(self._read)}" if self._read else ""
        ignored = [name for name in self._seen if name not in (*self._read, _IDENTITY)]
        if ignored:
            layout += f"; not read: {', '.join(ignored[:8])}{', …' if len(ignored) > 8 else ''}"
        if "punctuation" in self._rules:
            layout += "; words and punctuation of the text"
        report.layout = report.layout or layout
        if self._has_spans:
            report.scheme = report.scheme or "spans"

    def read(self, record: Any, line: int) -> Sentence | None:
        """The sentence of a record, None for one whose annotation was rejected.

        Raises `UserError` naming file and line for what is malformed or not certain.
        """
        source = self._source
        if isinstance(record, list | tuple) and _is_spacy_pair(record):
            record = {"text": record[0], **record[1]}
        if not isinstance(record, dict):
            source.fail(
                line,
                f"a {type(record).__name__}, not an object; "
                'write {"tokens": […], "tags": […]} or {"text": …} on each line',
            )
        plain = as_plain_record(record, source, line)
        if plain is None:
            return None
        key = self._word_field(plain, line)
        origin, words = self._words(plain, key, line)
        self._read.setdefault(key)
        self._seen.update(dict.fromkeys(plain))
        if self._source.options.columns is not None and len(self._source.options.columns) == 1:
            return Sentence(tuple(words), origin=origin)
        tags = self._tags(plain, key, words, line)
        if tags is None:
            tags = self._spans(plain, key, words, origin, line)
        return Sentence(tuple(words), tags, origin=origin)

    # ---- Words ---------------------------------------------------------------------------------

    def _word_field(self, record: dict[str, Any], line: int) -> str:
        chosen = self._source.options.columns
        names = chosen[:1] if chosen else (*WORD_FIELDS, *TEXT_FIELDS)
        for name in names:
            if record.get(name) is not None:
                self._refuse_second_text(record, name, line)
                return name
        fields = ", ".join(map(repr, list(record)[:5])) or "nothing"
        if chosen:
            self._source.fail(
                line, f"the object has no {chosen[0]!r} but {fields}; correct --columns"
            )
        self._source.fail(
            line,
            f"the object has neither 'tokens', 'words' nor 'text' but {fields}; name the sentence's "
            "words 'tokens', or say which fields to read: --columns WORD,TAG",
        )

    def _refuse_second_text(self, record: dict[str, Any], key: str, line: int) -> None:
        """Refuses a record with two texts of which neither is named `text`: a question, say."""
        if self._source.options.columns or key not in TEXT_FIELDS[1:]:
            return
        for name in (*TEXT_FIELDS, *_OTHER_TEXTS):
            if isinstance(record.get(name), str) and record[name] != record[key]:
                self._source.fail(
                    line,
                    f"{key!r} and {name!r} may both be the text; say which field to read: "
                    f"--columns {key} or --columns {name}, and after a comma that of the tags",
                )

    def _words(
        self, record: dict[str, Any], key: str, line: int
    ) -> tuple[TextOrigin | None, Sequence[str]]:
        """The text and where the words stand in it, as far as those are told; and the words."""
        value, source = record[key], self._source
        text = record.get("text") if key != "text" else None
        if isinstance(value, str):
            if key in WORD_FIELDS:
                source.fail(line, f"{key!r} is not a list of strings; {_ONE_STRING_A_WORD}")
            rule = self._rule(record, key, len(value.split()), line)
            self._rules.setdefault(rule)
            sentence = sentence_of_text(value, rule, source, line)
            self._check_words(sentence.words, line)
            return sentence.origin, sentence.words
        if key == "text":
            source.fail(line, "'text' is not a string; write the sentence in quotes")
        if isinstance(value, list) and value and all(isinstance(token, dict) for token in value):
            words, found_offsets = read_tokens(value, text, source, line)
        else:
            words, found_offsets = self._strings(value, key, line), None
        if isinstance(text, str) and found_offsets is None:
            found_offsets = offsets_of(words, text)
        self._check_words(words, line)
        if not isinstance(text, str) or found_offsets is None:
            return None, words
        return TextOrigin(text, tuple(found_offsets)), words

    def _rule(self, record: dict[str, Any], key: str, length: int, line: int) -> TextWords:
        """How a text becomes words; `length` is how many it has between blanks."""
        options = self._source.options
        fields = options.columns[1:] if options.columns else SPAN_FIELDS
        if fields and self._tag_field(record, key, length, line) is not None:
            return "blanks"  # each of which has a tag
        if options.text_words is not None:
            return options.text_words
        others = (_kind(record.get(name)) for name in fields if name != key)
        return "punctuation" if any(kind in ("objects", "empty") for kind in others) else "blanks"

    def _check_words(self, words: Sequence[str], line: int) -> None:
        if "" in words:
            self._source.fail(
                line, f"word {list(words).index('') + 1} is empty; remove it or write one"
            )
        if any("\ud800" <= character <= "\udfff" for word in words for character in word):
            self._source.fail(
                line,
                "half of a surrogate pair in a word; write the character itself, or both \\u",
            )

    def _strings(self, value: Any, key: str, line: int) -> list[str]:
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            self._source.fail(line, f"{key!r} is not a list of strings; {_ONE_STRING_A_WORD}")
        return value

    # ---- Tags ----------------------------------------------------------------------------------

    def _tags(
        self, record: dict[str, Any], key: str, words: Sequence[str], line: int
    ) -> tuple[str, ...] | None:
        """The tags of the field that has one a word; None if none has."""
        name = self._tag_field(record, key, len(words), line)
        if name is None:
            return None
        tags = record[name]
        if _kind(tags) == "integers":
            tags = self._named(tags, name, line)
        tags = self._strings(tags, name, line)
        if len(words) != len(tags):
            self._source.fail(
                line, f"{len(words)} words but {len(tags)} tags; give every word exactly one tag"
            )
        self._read[name] = None
        return self._source.tags.read(words, tags, line)

    def _tag_field(self, record: dict[str, Any], key: str, length: int, line: int) -> str | None:
        chosen = self._source.options.columns
        if chosen:
            if record.get(chosen[1]) is None:
                return None
            return chosen[1] if _kind(record[chosen[1]]) != "objects" else None
        names = [
            name
            for name in TAG_FIELDS
            if name != key
            and record.get(name) is not None
            and (
                _kind(record[name]) in ("strings", "integers")
                or name in _ALWAYS_TAGS
                or (_kind(record[name]) == "empty" and length == 0)
                or (_kind(record[name]) == "mixed")
            )
        ]
        if len(names) > 1 and any(record[name] != record[names[0]] for name in names):
            self._source.fail(
                line,
                f"{' and '.join(map(repr, names))} may both hold the tags; say which fields to read: "
                f"--columns {key},{names[0]}",
            )
        return names[0] if names else None

    def _named(self, tags: Sequence[int], field: str, line: int) -> list[str]:
        names = self._source.options.label_names
        if names is None:
            self._source.fail(
                line,
                f"{field!r} holds numbers; say what they stand for: --label_names FILE, a tag such "
                "as O or B-city a line, that of 0 first",
            )
        outside = next((tag for tag in tags if not 0 <= tag < len(names)), None)
        if outside is not None:
            self._source.fail(
                line,
                f"{field!r} holds {outside}, and there are names for 0 to {len(names) - 1}; correct "
                "the number or the label names",
            )
        return [names[tag] for tag in tags]

    # ---- Spans ---------------------------------------------------------------------------------

    def _spans(
        self,
        record: dict[str, Any],
        key: str,
        words: Sequence[str],
        origin: TextOrigin | None,
        line: int,
    ) -> tuple[str, ...] | None:
        """The tags of the field that has spans; None if none has."""
        chosen, source = self._source.options.columns, self._source
        fields = chosen[1:] if chosen else SPAN_FIELDS
        names = [
            name
            for name in fields
            if name != key and _kind(record.get(name)) in ("objects", "empty")
        ]
        if not names:
            if chosen and record.get(chosen[1]) is not None:
                source.fail(
                    line,
                    f"{chosen[1]!r} is neither tags, one a word, nor spans; write a list of strings, "
                    "or of [start, end, label] in characters, the end exclusive",
                )
            self._refuse_unread(record, key, len(words), line)
            return None
        filled = [name for name in names if record[name]]
        if len(filled) > 1 and any(record[name] != record[filled[0]] for name in filled):
            source.fail(
                line,
                f"{' and '.join(map(repr, filled))} may both hold the spans; say which fields to "
                f"read: --columns {key},{filled[0]}",
            )
        name = (filled or names)[0]
        spans = record[name]
        self._read[name] = None
        self._has_spans = True
        if not spans:
            self._refuse_unread(record, key, len(words), line)
            return ("O",) * len(words)
        if key == "tokenized_text":
            return self._gliner(spans, name, len(words), line)
        if origin is None:
            source.fail(
                line,
                f"{name!r} holds spans, and there is no 'text' whose characters they count; add "
                "'text', or write 'tags', one a word",
            )
        read: list[CharacterSpan] = [character_span(span, name, source, line) for span in spans]
        tags = tags_of_spans(origin.text, origin.offsets, read, source, line)
        self._ends.add(origin.text, read, line)
        return tags

    def _gliner(self, spans: Any, name: str, length: int, line: int) -> tuple[str, ...]:
        """GLiNER's training data: `[first word, last word, label]`."""
        of_words: list[Span] = []
        for value in spans:
            first, end, label, _ = character_span(value, name, self._source, line)
            if not 0 <= first <= end < length:
                self._source.fail(
                    line,
                    f"{name!r} names words {first} to {end} of {length}; GLiNER counts from 0, the "
                    "last word included",
                )
            of_words.append(Span(first, end + 1, label))
        of_words = sorted(set(of_words))
        for left, right in itertools.pairwise(of_words):
            if right.start < left.end:
                self._source.fail(
                    line,
                    f"spans {tuple(left)} and {tuple(right)} overlap; keep one of them, since tags "
                    "cannot express both",
                )
        return tuple(iob2_from_spans(of_words, length))

    def _refuse_unread(self, record: dict[str, Any], key: str, length: int, line: int) -> None:
        """Refuses a field that looks like tags or spans under a name that is not read."""
        if self._source.options.columns is not None:
            return
        for name, value in record.items():
            if name in (key, *WORD_FIELDS, *TEXT_FIELDS, *_OTHER_SPANS):
                continue
            kind = _kind(value)
            is_tags = kind == "strings" and len(value) == length and all(map(is_tag_shaped, value))
            is_spans = kind == "objects" and all(map(_has_offsets, value))
            if kind == "mapping" and name in (*TAG_FIELDS, *SPAN_FIELDS):
                self._source.fail(
                    line,
                    f"{name!r} is an object and not a list; write spans in characters, "
                    f'"{name}": [[start, end, label], …], the end exclusive, or say '
                    f"--columns {key} for words without tags",
                )
            if is_tags or is_spans:
                self._source.fail(
                    line,
                    f"{name!r} looks like annotation and is not read under this name or in this "
                    f"form; say which fields to read (--columns {key},{name}), or --columns {key} for "
                    "words without tags",
                )


_OTHER_SPANS = ("sents",)
"""Fields of spans that are no entities: spaCy's sentences."""
_ONE_STRING_A_WORD = "write one string for every word"


def _is_spacy_pair(record: Sequence[Any]) -> bool:
    """spaCy's training data of old: `["text", {"entities": [[0, 4, "LABEL"]]}]`."""
    return (
        len(record) == 2
        and isinstance(record[0], str)
        and isinstance(record[1], dict)
        and "text" not in record[1]
    )


def _kind(value: Any) -> str:
    """What a field may be: `strings`, `integers`, `objects` (spans), `empty`, `mixed`, `mapping`, …"""
    if isinstance(value, dict):
        return "mapping" if value else "none"
    if not isinstance(value, list):
        return "none"
    if not value:
        return "empty"
    if all(isinstance(entry, str) for entry in value):
        return "strings"
    if all(isinstance(entry, int) and not isinstance(entry, bool) for entry in value):
        return "integers"
    if all(isinstance(entry, dict | list | tuple) for entry in value):
        return "objects"
    return "mixed"


_PLACES = ("start", "begin", "offset", "points", "pos", "index", "indices")


def _has_offsets(value: Any) -> bool:
    if isinstance(value, dict):
        return any(name.lower().startswith(_PLACES) or "span" in name.lower() for name in value)
    return len(value) >= 3 and all(isinstance(number, int) for number in value[:2])
