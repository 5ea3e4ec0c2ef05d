"""Random sentences, written in every format that the readers know: what `fuzz.py` starts from."""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from distill_jax.tagging import Sentence, from_spans, iob2_from_spans
from distill_jax_runtime.spans import Span, spans_from_iob2

_WORD_LIST = (
    "play wow the in Bonn Köln 東京 don't U.S. 3 12 1 # #tag O B-x - _ * ( ) . , ? ! é ñ😀 Mr. x/y 50% a:b "
    "https://x.org @me I o café naïve \u00a0x a\u00a0b ~ { [ \" \\ ' & <b> -DOCSTART 2.1 1-2"
)
WORDS = tuple(_WORD_LIST.split(" "))  # not split(): a no-break space is part of a word
LABELS = ("PER", "LOC", "music_item", "time-range", "Ort")
SCHEMES = ("iob1", "iob2", "bioes", "bilou", "bmes", "bmewo")


def make_sentences(random: random.Random) -> list[Sentence]:
    """One to five sentences of one to eight words with random spans."""
    return [_sentence(random) for _ in range(random.randint(1, 5))]


def _sentence(random: random.Random) -> Sentence:
    words = tuple(random.choice(WORDS) for _ in range(random.randint(1, 8)))
    spans, end = [], 0
    while random.random() < 0.6:
        start = end + random.randint(0, 2)
        end = start + random.randint(1, 3)
        if end > len(words):
            break
        spans.append(Span(start, end, random.choice(LABELS)))
    return Sentence(words, tuple(iob2_from_spans(spans, len(words))))


def _rows(row: Callable[[int, str, str], str], scheme: str = "iob2", before: str = "") -> Any:
    def write(sentences: list[Sentence]) -> str:
        return "".join(
            before
            + "".join(row(n, w, t) + "\n" for n, (w, t) in enumerate(_tagged(s, scheme), 1))
            + "\n"
            for s in sentences
        )

    return write


def _tagged(sentence: Sentence, scheme: str) -> Iterator[tuple[str, str]]:
    spans = spans_from_iob2(sentence.tags or ())
    return zip(sentence.words, from_spans(spans, len(sentence.words), scheme), strict=True)


def _conllu(n: int, word: str, tag: str) -> str:
    return f"{n}\t{word}\t_\tX\t_\t_\t0\troot\t_\tSpaceAfter=No|NER={tag}"


def _bracketed(sentence: Sentence) -> Iterator[tuple[str, str]]:
    cells = ["*"] * len(sentence.words)
    for start, end, label in spans_from_iob2(sentence.tags or ()):
        cells[start] = f"({label}*"
        cells[end - 1] = cells[end - 1] + ")" if end - 1 > start else f"({label})"
    return zip(sentence.words, cells, strict=True)


def _brackets(sentences: list[Sentence]) -> str:
    rows = ("".join(f"{word}\t{cell}\n" for word, cell in _bracketed(one)) for one in sentences)
    return "\n".join(rows)


def _conll2012(sentences: list[Sentence]) -> str:
    text = "#begin document (x); part 000\n"
    for sentence in sentences:
        for n, (word, cell) in enumerate(_bracketed(sentence)):
            text += f"x 0 {n} {word} NN * - - - S {cell} * -\n"
        text += "\n"
    return text + "#end document\n"


def _lines(record: Callable[[Sentence], Any]) -> Callable[[list[Sentence]], str]:
    return lambda sentences: "".join(
        json.dumps(record(sentence), ensure_ascii=False) + "\n" for sentence in sentences
    )


def _document(record: Callable[[Sentence], Any]) -> Callable[[list[Sentence]], str]:
    return lambda sentences: json.dumps(list(map(record, sentences)), ensure_ascii=False, indent=1)


def _spans(sentence: Sentence) -> tuple[str, list[tuple[int, int, str]]]:
    text = " ".join(sentence.words)
    starts, at = [], 0
    for word in sentence.words:
        starts.append(at)
        at += len(word) + 1
    return text, [
        (starts[start], starts[end - 1] + len(sentence.words[end - 1]), label)
        for start, end, label in spans_from_iob2(sentence.tags or ())
    ]


def _doccano(sentence: Sentence) -> Any:
    text, spans = _spans(sentence)
    return {"id": 1, "text": text, "label": spans}


def _spacy(sentence: Sentence) -> Any:
    text, spans = _spans(sentence)
    return {"text": text, "ents": [{"start": s, "end": e, "label": name} for s, e, name in spans]}


def _prodigy(sentence: Sentence) -> Any:
    text, spans = _spans(sentence)
    tokens, at = [], 0
    for number, word in enumerate(sentence.words):
        tokens.append({"text": word, "start": at, "end": at + len(word), "id": number})
        at += len(word) + 1
    named = [{"start": s, "end": e, "label": name} for s, e, name in spans]
    return {"text": text, "tokens": tokens, "spans": named, "answer": "accept"}


def _label_studio(sentence: Sentence) -> Any:
    text, spans = _spans(sentence)
    result = [
        {"type": "labels", "value": {"start": s, "end": e, "text": text[s:e], "labels": [name]}}
        for s, e, name in spans
    ]
    return {"id": 1, "data": {"text": text}, "annotations": [{"result": result}]}


def _gliner(sentence: Sentence) -> Any:
    spans = [[s, e - 1, name] for s, e, name in spans_from_iob2(sentence.tags or ())]
    return {"tokenized_text": sentence.words, "ner": spans}


def _tokens(sentence: Sentence) -> Any:
    return {"tokens": sentence.words, "ner_tags": sentence.tags, "id": "a"}


def _integers(sentence: Sentence) -> Any:
    return {"tokens": sentence.words, "ner_tags": [NAMES.index(tag) for tag in sentence.tags or ()]}


NAMES = ("O", *(f"{prefix}-{label}" for label in LABELS for prefix in "BI"))
FORMATS: dict[str, tuple[str, Callable[[list[Sentence]], str]]] = {
    **{f"tabs {s}": ("conll", _rows(lambda n, w, t: f"{w}\t{t}", s)) for s in SCHEMES},
    **{f"blanks {s}": ("txt", _rows(lambda n, w, t: f"{w} {t}", s)) for s in SCHEMES},
    "underscores": ("bio", _rows(lambda n, w, t: f"{w}\t{t[:1]}{t[1:].replace('-', '_', 1)}")),
    "brackets": ("conll", _brackets),
    "WikiAnn": ("tsv", _rows(lambda n, w, t: f"en:{w}\t{t}")),
    "tag first": ("bio", _rows(lambda n, w, t: f"{t}\t{w}")),
    "index": ("tsv", _rows(lambda n, w, t: f"{n}\t{w}\t{t}", before="# text = x\n")),
    "multiconer": ("conll", _rows(lambda n, w, t: f"{w} _ _ {t}", before="# id a\tdomain=en\n")),
    "conll2003": (
        "txt",
        _rows(lambda n, w, t: f"{w} NN I-NP {t}", before="-DOCSTART- -X- O O\n\n"),
    ),
    "conllu": ("conllu", _rows(_conllu, before="# sent_id = 1\n")),
    "conll2012": ("gold_conll", _conll2012),
    "tsv": (
        "tsv",
        lambda ss: "".join(f"{' '.join(s.words)}\t{' '.join(s.tags or ())}\n" for s in ss),
    ),
    "text": ("txt", lambda ss: "".join(" ".join(s.words) + "\n" for s in ss)),
    **{
        f"{name} {kind}": (suffix, write(record))
        for name, record in {
            "tokens": _tokens,
            "integers": _integers,
            "doccano": _doccano,
            "spacy": _spacy,
            "prodigy": _prodigy,
            "label studio": _label_studio,
            "gliner": _gliner,
        }.items()
        for kind, suffix, write in (("lines", "jsonl", _lines), ("document", "json", _document))
    },
}

# Their words are what stands between blanks of any kind, no-break spaces included.
OF_TEXT = ("text", "tsv", "doccano", "spacy", "label studio")
