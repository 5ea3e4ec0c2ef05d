"""What annotation tools export: Label Studio, Prodigy, spaCy, doccano, brought to one form."""

from collections.abc import Sequence
from typing import Any

from distill_jax.data.readers.character_spans import CharacterSpan
from distill_jax.data.readers.source import Source

_STARTS = ("start", "start_offset", "start_char", "begin", "start_idx", "startOffset")
_ENDS = ("end", "end_offset", "end_char", "end_idx", "endOffset", "stop")
_LABELS = (
    *("label", "labels", "type", "entity", "entity_group", "entity_type", "tag", "category"),
    "entityLabel",
)
# Not `value` (Rasa's is normalised) nor `word` (transformers' is put together from subwords).
_QUOTES = ("text", "quote", "mention", "surface")
_TAGS_OF_TOKENS = ("ner", "ner_tag", "bio", "iob", "label", "entity")
_REJECTED = ("reject", "ignore")


def as_plain_record(record: dict[str, Any], source: Source, line: int) -> dict[str, Any] | None:
    """A record with its text and spans at the top; None if its annotation was rejected."""
    if record.get("answer") in _REJECTED:  # Prodigy
        source.report.note("rejected_records", line)
        return None
    record = _with_tags_of_tokens(_of_jobs(record), source, line)
    data, annotations = record.get("data"), record.get("annotations", record.get("completions"))
    if isinstance(data, str) and "text" not in record:  # doccano of old
        return {**record, "text": data}
    if not isinstance(data, dict) or "text" in record or "tokens" in record:
        return record
    if not isinstance(annotations, list):
        source.fail(line, "'data' without a list of 'annotations'; export the annotations too")
    text = data.get("text")
    if text is None:
        texts = [value for value in data.values() if isinstance(value, str)]
        if len(texts) != 1:
            source.fail(
                line,
                f"'data' has no 'text' but {', '.join(map(repr, data)) or 'nothing'}; export it with "
                "the text under 'text'",
            )
        text = texts[0]
    plain = {"text": text}
    done = [one for one in annotations if isinstance(one, dict) and not one.get("was_cancelled")]
    if len(done) < len(annotations):
        source.report.note("rejected_records", line, len(annotations) - len(done))
    if not done:
        return plain
    if len(done) > 1:
        source.report.note("further_annotations", line)
    result = done[0].get("result")
    if not isinstance(result, list):
        source.fail(line, "an annotation without a list 'result'; export the annotations again")
    return {**plain, "spans": [_region(one, source, line) for one in result if _is_region(one)]}


def _of_jobs(record: dict[str, Any]) -> dict[str, Any]:
    """A record with its spans at the top if it is of UBIAI or SageMaker Ground Truth."""
    tokens = record.get("tokens")
    if (
        isinstance(record.get("document"), str)
        and isinstance(tokens, list)
        and all(isinstance(token, dict) and "entityLabel" in token for token in tokens)
    ):
        return {"text": record["document"], "spans": tokens}
    found = [
        job["annotations"]["entities"]
        for job in record.values()
        if isinstance(job, dict)
        and isinstance(job.get("annotations"), dict)
        and isinstance(job["annotations"].get("entities"), list)
    ]
    if isinstance(record.get("source"), str) and "text" not in record and len(found) == 1:
        return {"text": record["source"], "spans": found[0]}
    return record


def _with_tags_of_tokens(record: dict[str, Any], source: Source, line: int) -> dict[str, Any]:
    """A record with its tags beside its tokens, where each token is an object with a tag in it."""
    tokens = record.get("tokens")
    if not isinstance(tokens, list) or not all(isinstance(token, dict) for token in tokens):
        return record
    if source.options.columns is not None:
        return record
    names = [name for name in _TAGS_OF_TOKENS if any(name in token for token in tokens)]
    if not names:
        return record
    name = names[0]
    if not all(isinstance(token.get(name), str) for token in tokens):
        source.fail(
            line,
            f"some of the tokens have {name!r}, a string, and others do not; give every token a tag, "
            "'O' outside of entities",
        )
    if "ner_tags" in record:
        source.fail(line, f"'ner_tags' and {name!r} of the tokens may both be the tags; keep one")
    return {**record, "ner_tags": [token[name] for token in tokens]}


def _is_region(one: Any) -> bool:
    """Whether one of Label Studio's results is a span of text, not a choice or a relation."""
    return isinstance(one, dict) and one.get("type") in ("labels", "hypertextlabels")


def _region(one: dict[str, Any], source: Source, line: int) -> dict[str, Any]:
    value = one.get("value")
    if not isinstance(value, dict) or one["type"] != "labels" or "startOffset" in value:
        source.fail(
            line,
            "a span without 'value', or of HTML, whose offsets do not count characters of the text; "
            "export plain text",
        )
    labels = value.get("labels")
    quote = {"text": value["text"]} if isinstance(value.get("text"), str) else {}
    return {"start": value.get("start"), "end": value.get("end"), "labels": labels, **quote}


def read_tokens(
    tokens: Sequence[dict[str, Any]], text: Any, source: Source, line: int
) -> tuple[list[str], list[tuple[int, int]] | None]:
    """Words and offsets of tokens as Prodigy and spaCy write them; tokens of blanks are left out."""
    words: list[str] = []
    offsets: list[tuple[int, int]] = []
    for number, token in enumerate(tokens, 1):
        start, end = token.get("start", -1), token.get("end", -1)
        has_offsets = _is_int(start) and _is_int(end) and start >= 0
        word = token.get("text")
        if word is None and has_offsets and isinstance(text, str):
            word = text[start:end]
        if not isinstance(word, str):
            source.fail(
                line,
                f"token {number} has no 'text', nor 'start' and 'end' in a 'text' of the record; "
                "write one string for every word",
            )
        if has_offsets and isinstance(text, str) and text[start:end] != word:
            source.fail(
                line,
                f"token {number} is {word!r}, but characters {start} to {end} of the text are "
                f"{text[start:end]!r}; correct its start and end",
            )
        if word and not word.strip():
            source.report.note("blank_tokens", line)
            continue
        words.append(word)
        if has_offsets:
            offsets.append((start, end))
    if len(offsets) < len(words):
        return words, None
    if isinstance(text, str):
        _refuse_words_outside(text, offsets, source, line)
    return words, offsets


def _refuse_words_outside(
    text: str, offsets: Sequence[tuple[int, int]], source: Source, line: int
) -> None:
    """Refuses tokens that are entities alone, say: what stands between them would be lost."""
    position = 0
    for start, end in [*offsets, (len(text), len(text))]:
        outside = text[position:start].strip()
        if outside:
            source.fail(
                line,
                f"{outside[:40]!r} of the text is in none of the tokens; give a token for every word, "
                "or leave the tokens out",
            )
        position = max(position, end)


def character_span(value: Any, field: str, source: Source, line: int) -> CharacterSpan:
    """A span from `[start, end, label]` or an object with the usual names of these."""
    start: Any = None
    end: Any = None
    label: Any = None
    quote: Any = None
    if isinstance(value, dict):
        points = value.get("points")  # DataTurks
        if isinstance(points, list) and len(points) == 1 and isinstance(points[0], dict):
            value = {**value, **points[0]}
        start, end, label, quote = (
            next((value[name] for name in names if value.get(name) is not None), None)
            for names in (_STARTS, _ENDS, _LABELS, _QUOTES)
        )
        if quote is None and "end_idx" in value and "type" in value:
            quote = value.get("entity")  # CMeEE
    elif isinstance(value, list | tuple) and len(value) == 3:
        start, end, label = value
    if isinstance(label, list) and len(label) > 1:
        source.fail(
            line,
            f"a span of {field!r} has several labels, {label}; keep one, since tags cannot"
            " express both",
        )
    if isinstance(label, list) and label:
        label = label[0]
    if not (_is_int(start) and _is_int(end) and isinstance(label, str) and label.strip()):
        source.fail(
            line,
            f"a span of {field!r} is {str(value)[:60]}; write [start, end, label], or an object with "
            "'start', 'end' (exclusive) and 'label', counted in characters",
        )
    return CharacterSpan(start, end, label.strip(), quote if isinstance(quote, str) else None)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
