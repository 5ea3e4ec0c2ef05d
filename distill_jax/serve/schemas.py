"""What a request for tags may say: bodies checked field by field."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from distill_jax.serve.errors import RequestError, wrong
from distill_jax.serve.settings import Limits
from distill_jax_runtime.text import Offsets, TextWords, words_with_offsets

Aggregation = Literal["none", "simple", "first", "average", "max"]
AGGREGATIONS: tuple[Aggregation, ...] = get_args(Aggregation)


@dataclass(frozen=True)
class Text:
    """A text and its words; of given words, the text is these joined by blanks."""

    text: str
    words: tuple[str, ...]
    offsets: Offsets


@dataclass(frozen=True)
class Parameters:
    """How an answer is written."""

    aggregation: Aggregation = "simple"
    top_k: int | None = None
    posteriors: bool = False


@dataclass(frozen=True)
class PredictRequest:
    """The body of `/predict`."""

    texts: tuple[Text, ...]
    single: bool
    """Whether `inputs` is one text and no list, and so the answer."""
    parameters: Parameters


def parse_json(body: bytes) -> dict[str, Any]:
    """The JSON object of a body. Raises `RequestError` 400 if it is none."""
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise RequestError(400, f"not UTF-8 at byte {error.start}", field="body") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise RequestError(400, f"not JSON ({error.msg} at {place})", field="body") from None
    except (ValueError, RecursionError):
        raise RequestError(
            400,
            "not JSON that can be read (NaN, infinity, a number of too many digits, brackets too deep)",
            field="body",
        ) from None
    if not isinstance(value, dict):
        raise RequestError(400, "not a JSON object", field="body")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(name)


def predict_request(
    fields: Mapping[str, Any], limits: Limits, text_words: TextWords
) -> PredictRequest:
    """Checks the body of `/predict`. Raises `RequestError` 422 naming the first field that is wrong."""
    check_fields(fields, ("inputs", "parameters"), "")
    if "inputs" not in fields:
        raise wrong("inputs", "is missing; give a text, or a list of texts")
    inputs = fields["inputs"]
    single = isinstance(inputs, str)
    if not single and not isinstance(inputs, list):
        raise wrong("inputs", f"is {_kind(inputs)}; give a text, or a list of texts")
    texts = read_texts([inputs] if single else inputs, "inputs", limits, text_words, single=single)
    return PredictRequest(texts, single, parameters(fields.get("parameters"), "parameters"))


def read_texts(
    given: Sequence[Any], field: str, limits: Limits, text_words: TextWords, *, single: bool = False
) -> tuple[Text, ...]:
    """Texts, or lists of words, with their words. Raises `RequestError` 422 for one that cannot be."""
    if len(given) > limits.texts:
        raise wrong(field, f"{len(given)} texts; at most {limits.texts} in a request")
    return tuple(
        _text(one, field if single else f"{field}[{number}]", limits, text_words)
        for number, one in enumerate(given)
    )


def _text(given: Any, field: str, limits: Limits, text_words: TextWords) -> Text:
    if isinstance(given, str):
        _check_characters(given, field)
        try:
            words, offsets = words_with_offsets(given, text_words)
        except ValueError as error:
            raise wrong(field, str(error)) from None
        text = Text(given, tuple(words), offsets)
    elif isinstance(given, list):
        text = _given_words(given, field)
    else:
        raise wrong(field, f"is {_kind(given)}; give a text, or a list of words")
    if len(text.words) > limits.words:
        raise wrong(field, f"{len(text.words)} words; at most {limits.words} in a text")
    return text


def _given_words(words: list[Any], field: str) -> Text:
    offsets: Offsets = []
    start = 0
    for number, word in enumerate(words):
        if not isinstance(word, str) or not word:
            raise wrong(f"{field}[{number}]", f"is {_kind(word)}; words are strings, and not empty")
        _check_characters(word, f"{field}[{number}]")
        offsets.append((start, start + len(word)))
        start += len(word) + 1
    return Text(" ".join(words), tuple(words), offsets)


def _check_characters(text: str, field: str) -> None:
    """Refuses halves of surrogate pairs, which JSON can write and UTF-8 cannot."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise wrong(
            field, f"character {error.start} is half of a surrogate pair; send whole characters"
        ) from None


def parameters(given: Any, field: str) -> Parameters:
    """Checks `parameters`. Raises `RequestError` 422 naming the first that is wrong."""
    if given is None:
        return Parameters()
    if not isinstance(given, dict):
        raise wrong(field, f"is {_kind(given)}; give an object")
    check_fields(given, ("aggregation_strategy", "top_k", "posteriors"), f"{field}.")
    aggregation = given.get("aggregation_strategy", "simple")
    if aggregation not in AGGREGATIONS:
        choice = ", ".join(AGGREGATIONS)
        raise wrong(f"{field}.aggregation_strategy", f"is {_kind(aggregation)}; one of {choice}")
    top_k = given.get("top_k")
    if top_k is not None and (
        not isinstance(top_k, int) or isinstance(top_k, bool) or not 1 <= top_k <= 10_000
    ):
        raise wrong(f"{field}.top_k", f"is {_kind(top_k)}; give a whole number from 1")
    posteriors = given.get("posteriors", False)
    if not isinstance(posteriors, bool):
        raise wrong(f"{field}.posteriors", f"is {_kind(posteriors)}; give true or false")
    return Parameters(aggregation, top_k, posteriors)


def check_fields(given: Mapping[str, Any], known: Sequence[str], prefix: str) -> None:
    """Refuses fields that nobody reads: they are misspelt, or mean something that is not done."""
    for name in given:
        if name not in known:
            raise wrong(
                f"{prefix}{_shortened(name)}",
                f"is not known here; there are {', '.join(known)}",
            )


def _kind(value: Any) -> str:
    """What a value is, for a message: short, whatever a client has sent."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int() | float():
            return _shortened(str(value))
        case str():
            return repr(_shortened(value)) if value else "an empty string"
        case list():
            return "a list"
        case _:
            return "an object"


def _shortened(text: str) -> str:
    text = text.encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= 40 else text[:40] + "…"
