"""JSON of tools and corpora in which words, tags or spans are not where they usually are."""

import json
from typing import Any

import pytest

from distill_jax.errors import UserError
from distill_jax.tagging import Sentence
from tests.data.readers.conftest import Read
from tests.data.readers.test_corpora import ANA, TEXT


def of_truth(start: int, end: int, label: str) -> dict[str, Any]:
    return {"startOffset": start, "endOffset": end, "label": label}


RECORDS: dict[str, dict[str, Any]] = {
    "SageMaker Ground Truth": {
        "source": TEXT,
        "job": {"annotations": {"entities": [of_truth(0, 8, "PER"), of_truth(14, 18, "LOC")]}},
        "job-metadata": {"type": "groundtruth/text-span"},
    },
    "UBIAI": {
        "documentName": "a.txt",
        "document": TEXT,
        "tokens": [
            {"text": "Ana Ruiz", "start": 0, "end": 8, "token_start": 0, "entityLabel": "PER"},
            {"text": "Bonn", "start": 14, "end": 18, "token_start": 3, "entityLabel": "LOC"},
        ],
        "relations": [],
    },
    "UBIAI, spans": {
        "document": TEXT,
        "annotation": [
            {"start": 0, "end": 8, "label": "PER", "text": "Ana Ruiz"},
            {"start": 14, "end": 18, "label": "LOC", "text": "Bonn"},
        ],
    },
    "DataTurks, ends counted in": {
        "content": TEXT,
        "annotation": [
            {"label": ["PER"], "points": [{"start": 0, "end": 7, "text": "Ana Ruiz"}]},
            {"label": ["LOC"], "points": [{"start": 14, "end": 17, "text": "Bonn"}]},
        ],
    },
    "CMeEE, ends counted in": {
        "text": TEXT,
        "entities": [
            {"start_idx": 0, "end_idx": 7, "type": "PER", "entity": "Ana Ruiz"},
            {"start_idx": 14, "end_idx": 17, "type": "LOC", "entity": "Bonn"},
        ],
    },
    "tokens with tags": {
        "tokens": [
            {"id": 1, "text": "Ana", "ner": "B-PER"},
            {"id": 2, "text": "Ruiz", "ner": "E-PER"},
            {"id": 3, "text": "left", "ner": "O"},
            {"id": 4, "text": "Bonn", "ner": "S-LOC"},
        ],
    },
}


@pytest.mark.parametrize("tool", RECORDS)
def test_records_of_tools(read: Read, tool: str) -> None:
    sentences, report = read(RECORDS[tool], "x.jsonl")
    assert sentences == [ANA]
    counted_in = 2 if "counted in" in tool else 0
    assert {name: one.count for name, one in report.remarks.items()} == (
        {"inclusive_ends": counted_in} if counted_in else {}
    )


@pytest.mark.parametrize(
    ("record", "says"),
    [
        (
            {"context": TEXT, "query": "people", "span_position": ["0;1"]},
            "'query' and 'context' may both be the text; .* --columns query or --columns context",
        ),
        (
            {"text": TEXT, "entity_list": [{"type": "PER", "char_span": [0, 8]}]},
            "'entity_list' looks",
        ),
        ({"sentence": TEXT, "found": [{"type": "PER", "pos": [0, 8]}]}, "'found' looks like"),
        (
            {"tokens": TEXT.split(), "found": [{"type": "PER", "index": [0, 1]}]},
            "'found' looks like",
        ),
        (
            {"text": "Ana left", "tokens": [{"text": "Ana", "start": 0, "end": 3}]},
            "'left' of the text is in none of the tokens",
        ),
        (
            {"text": "Ana left", "tokens": [{"text": "left", "start": 4, "end": 8}]},
            "'Ana' of the text is in none of the tokens",
        ),
        (
            {"tokens": [{"text": "Ana", "ner": "B-PER"}, {"text": "left"}]},
            "some of the tokens have 'ner', a string, and others do not",
        ),
        (
            {"tokens": [{"text": "Ana", "ner": "B-PER"}], "ner_tags": ["O"]},
            "'ner_tags' and 'ner' of the tokens may both be the tags",
        ),
        (
            {"text": TEXT, "label": {"PER": {"Ana": [[0, 2]]}}},
            "'label' is an object and not a list",
        ),
    ],
)
def test_records_that_are_not_certain(read: Read, record: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=rf"x.jsonl:1: {says}"):
        read(record, "x.jsonl")


@pytest.mark.parametrize("value", [{"PER": [[0, 3]]}, "PER", 3, [0.5]])
def test_a_field_that_was_asked_for_is_read_or_refused(read: Read, value: Any) -> None:
    with pytest.raises(UserError, match=r"x.jsonl:1: 'found' is "):
        read({"text": TEXT, "found": value}, "x.jsonl", columns="text,found")


def test_spacys_sentences_are_no_entities(read: Read) -> None:
    record = {"text": "so what", "ents": [], "sents": [{"start": 0, "end": 7}]}
    assert read(record, "x.jsonl")[0] == [Sentence(("so", "what"), ("O", "O"))]


def test_of_two_texts_one_is_chosen(read: Read) -> None:
    record = {"context": TEXT, "query": "people"}
    assert read(record, "x.jsonl", columns="context")[0] == [Sentence(ANA.words)]


def lines(*records: tuple[str, list[tuple[int, int, str]]]) -> str:
    return "".join(json.dumps({"text": t, "label": spans}) + "\n" for t, spans in records)


def test_ends_that_count_the_last_character_in_are_noticed(read: Read) -> None:
    short = lines((TEXT, [(0, 7, "PER"), (14, 17, "LOC")]), ("to Oslo.", [(3, 6, "LOC")]))
    with pytest.raises(UserError, match=r":1: all 3 spans end .*'Ana Rui' of 'Ana Ruiz'.*add 1"):
        read(short, "x.jsonl")
    of_one = lines(("vitamin C", [(0, 8, "X")]), ("in Bonn", [(3, 6, "LOC")]))
    with pytest.raises(UserError, match=r"all 2 spans end .*'vitamin ' of 'vitamin C'"):
        read(of_one, "x.jsonl")
    with pytest.raises(UserError, match=r":1: span 0 to 0 .*the end exclusive"):
        read(lines(("a b", [(0, 0, "X")])), "x.jsonl")


def test_ends_that_are_exclusive_are_not_suspected(read: Read) -> None:
    for text in (
        lines(("live in Bonn.", [(8, 12, "LOC")]), ("to Oslo!", [(3, 7, "LOC")])),
        lines((TEXT, [(0, 7, "PER"), (14, 18, "LOC")])),  # one that is right tells
        lines(("Bonns", [(0, 4, "LOC")])),  # a single one may be so
    ):
        read(text, "x.jsonl")


@pytest.mark.parametrize(
    "record",
    [
        {"sentences": [["Ana", "left"]], "ner": [[[0, 0, "PER"]]], "clusters": []},  # DyGIE
        {"tokens": ["Ana"], "entities": [{"type": "PER", "start": 0, "end": 1}]},  # SpERT
        {"sentence": ["Ana"], "ner": [{"index": [0], "type": "PER"}], "word": [[0, 1]]},  # W2NER
        {"id": 0, "paragraphs": [{"raw": "Ana", "sentences": []}]},  # spaCy 2
        {"id": "0", "passages": [{"text": ["Ana"], "offsets": [[0, 3]]}], "entities": []},  # BigBio
        {"utt": "to Bonn", "annot_utt": "to [city : Bonn]"},  # MASSIVE
        {"annotatable": {"parts": ["s1p1"]}, "entities": [{"part": "s1p1"}]},  # tagtog
        {"conversations": [{"from": "human", "value": "Text: Ana"}]},  # Pile-NER
    ],
)
def test_records_of_another_form_are_refused(read: Read, record: dict[str, Any]) -> None:
    for name, content in (("x.jsonl", record), ("x.json", [record])):
        with pytest.raises(UserError, match=rf"{name}:1: "):
            read(content, name)
