"""Layouts of public corpora and of tools' exports, made from their documentation; the text is ours."""

import json
from typing import Any

import pytest

from distill_jax.errors import UserError
from distill_jax.tagging import Sentence
from tests.data.readers.conftest import Read

ANA = Sentence(("Ana", "Ruiz", "left", "Bonn"), ("B-PER", "I-PER", "O", "B-LOC"))
NO = Sentence(("No", "."), ("O", "O"))
TEXT = "Ana Ruiz left Bonn"


def ontonotes(number: int, word: str, entity: str) -> str:
    columns = ["bc/x/00/x_0000", "0", str(number), word, "NN", "(TOP*", "-", "-", "-", "Speaker#1"]
    return "   ".join([*columns, entity, "*", "(0)"]) + "\n"


COLUMNS: dict[str, tuple[str, str]] = {
    "CoNLL-2003": (
        "train.txt",
        "-DOCSTART- -X- -X- O\n\nAna NNP I-NP I-PER\nRuiz NNP I-NP I-PER\nleft VBD I-VP O\n"
        "Bonn NNP I-NP I-LOC\n\nNo DT B-NP O\n. . O O\n\n",
    ),
    "CoNLL-2003, German": (
        "deu.train",
        "-DOCSTART- -X- -X- -X- O\n\nAna Ana NE I-NC I-PER\nRuiz Ruiz NE I-NC I-PER\n"
        "left lassen VVFIN I-VC O\nBonn Bonn NE I-NC I-LOC\n\nNo no PIAT I-NC O\n. . $. O O\n",
    ),
    "CoNLL-2002": (
        "esp.train",
        "Ana B-PER\nRuiz I-PER\nleft O\nBonn B-LOC\n\nNo O\n. O\n\n",
    ),
    "CoNLL-2002, Dutch": (
        "ned.train",
        "-DOCSTART- -DOCSTART- O\nAna N B-PER\nRuiz N I-PER\nleft V O\nBonn N B-LOC\n\nNo Adv O\n. Punc O\n",
    ),
    "OntoNotes, CoNLL-2012": (
        "x.v4_gold_conll",
        "#begin document (bc/x/00/x_0000); part 000\n"
        + ontonotes(0, "Ana", "(PER*")
        + ontonotes(1, "Ruiz", "*)")
        + ontonotes(2, "left", "*")
        + ontonotes(3, "Bonn", "(LOC)")
        + "\n"
        + ontonotes(0, "No", "*")
        + ontonotes(1, ".", "*")
        + "\n#end document\n",
    ),
    "WNUT-17": (
        "wnut17train.conll",
        "Ana\tB-PER\nRuiz\tI-PER\nleft\tO\nBonn\tB-LOC\n\t\nNo\tO\n.\tO\n\t\n",
    ),
    "MultiCoNER": (
        "en_train.conll",
        "# id 5239d808-f300\tdomain=en\nAna _ _ B-PER\nRuiz _ _ I-PER\nleft _ _ O\nBonn _ _ B-LOC\n\n"
        "# id 7b2e0a21-8a33\tdomain=en\nNo _ _ O\n. _ _ O\n\n",
    ),
    "Universal NER": (
        "en_ewt-ud-train.iob2",
        "# sent_id = 1\n# text = Ana\n1\tAna\tB-PER\t-\tann\n2\tRuiz\tI-PER\t-\tann\n3\tleft\tO\t-\tann\n"
        "4\tBonn\tB-LOC\t-\tann\n\n# sent_id = 2\n1\tNo\tO\t-\tann\n2\t.\tO\t-\tann\n\n",
    ),
    "MIT movie": (
        "engtrain.bio",
        "B-PER\tAna\nI-PER\tRuiz\nO\tleft\nB-LOC\tBonn\n\nO\tNo\nO\t.\n\n",
    ),
    "MIT restaurant, parted by blanks": (
        "restauranttrain.txt",
        "B-PER Ana\nI-PER Ruiz\nO left\nB-LOC Bonn\n\nO No\nO .\n\n",
    ),
    "Resume NER": (
        "train.char.bmes",
        "Ana B-PER\nRuiz E-PER\nleft O\nBonn S-LOC\n\nNo O\n. O\n\n",
    ),
    "NorNE": (
        "no_bokmaal-ud-train.conllu",
        "# sent_id = 1\n"
        "1\tAna\tAna\tPROPN\t_\t_\t3\tnsubj\t_\tname=B-PER\n"
        "2\tRuiz\tRuiz\tPROPN\t_\t_\t1\tflat\t_\tname=I-PER\n"
        "3\tleft\tleft\tVERB\t_\t_\t0\troot\t_\tname=O\n"
        "4\tBonn\tBonn\tPROPN\t_\t_\t3\tobj\t_\tname=B-LOC\n\n"
        "1\tNo\tno\tINTJ\t_\t_\t0\troot\t_\tSpaceAfter=No|name=O\n"
        "2\t.\t.\tPUNCT\t_\t_\t1\tpunct\t_\tname=O\n\n",
    ),
    "PLOD": (
        "train.tsv",
        "tokens\tner_tags\nAna\tB-PER\nRuiz\tI-PER\nleft\tO\nBonn\tB-LOC\n\nNo\tO\n.\tO\n",
    ),
    "Few-NERD": (
        "train.txt",
        "Ana\tPER\nRuiz\tPER\nleft\tO\nBonn\tLOC\n\nNo\tO\n.\tO\n\n",
    ),
    "JNLPBA": (
        "Genia4ERtask2.iob2",
        "###MEDLINE:1\tO\n\nAna\tB-PER\nRuiz\tI-PER\nleft\tO\nBonn\tB-LOC\n\nNo\tO\n.\tO\n",
    ),
    "BC5CDR": (
        "train.tsv",
        "Ana\tB-PER\nRuiz\tI-PER\nleft\tO\nBonn\tB-LOC\n\nNo\tO\n.\tO\n",
    ),
    "NCBI disease, four columns": (
        "train.tsv",
        "Ana\t1001\t0\tB-PER\nRuiz\t1001\t4\tI-PER\nleft\t1001\t9\tO\nBonn\t1001\t14\tB-LOC\n\n"
        "No\t1001\t19\tO\n.\t1001\t21\tO\n",
    ),
    "Label Studio, CoNLL-2003 export": (
        "result.conll",
        "-DOCSTART- -X- O\nAna -X- _ B-PER\nRuiz -X- _ I-PER\nleft -X- _ O\nBonn -X- _ B-LOC\n\n"
        "No -X- _ O\n. -X- _ O\n\n",
    ),
    "a spreadsheet saved with tabs": (
        "ner.tsv",
        "Sentence #\tWord\tPOS\tTag\nSentence: 1\tAna\tNNP\tB-PER\n\tRuiz\tNNP\tI-PER\n\tleft\tVBD\tO\n"
        "\tBonn\tNNP\tB-LOC\nSentence: 2\tNo\tDT\tO\n\t.\t.\tO\n",
    ),
    "slot filling, a sentence a line": (
        "atis.tsv",
        "Ana Ruiz left Bonn\tB-PER I-PER O B-LOC\nNo .\tO O\n",
    ),
}


@pytest.mark.parametrize("corpus", COLUMNS)
def test_corpora_in_columns(read: Read, corpus: str) -> None:
    name, content = COLUMNS[corpus]
    sentences, report = read(content, name)
    assert sentences == [ANA, NO]
    assert (report.sentences, report.words) == (2, 6)


SPANS = [{"start": 0, "end": 8, "label": "PER"}, {"start": 14, "end": 18, "label": "LOC"}]
TOKENS = [
    {"text": "Ana", "start": 0, "end": 3, "id": 0, "ws": True},
    {"text": "Ruiz", "start": 4, "end": 8, "id": 1, "ws": True},
    {"text": "left", "start": 9, "end": 13, "id": 2, "ws": True},
    {"text": "Bonn", "start": 14, "end": 18, "id": 3, "ws": False},
]


def region(start: int, end: int, label: str) -> dict[str, Any]:
    value = {"start": start, "end": end, "text": TEXT[start:end], "labels": [label]}
    return {"id": "a", "from_name": "label", "to_name": "text", "type": "labels", "value": value}


LABEL_STUDIO = {
    "id": 1,
    "data": {"text": TEXT},
    "annotations": [
        {"id": 7, "was_cancelled": True, "result": []},
        {
            "id": 8,
            "result": [
                region(0, 8, "PER"),
                region(14, 18, "LOC"),
                {"type": "choices", "value": {"choices": ["news"]}},
            ],
        },
    ],
    "predictions": [],
}
EXPORTS: dict[str, Any] = {
    "doccano": {"id": 4, "text": TEXT, "label": [[0, 8, "PER"], [14, 18, "LOC"]], "Comments": []},
    "doccano with relations": {
        "id": 4,
        "text": TEXT,
        "relations": [],
        "entities": [
            {"id": 1, "label": "PER", "start_offset": 0, "end_offset": 8},
            {"id": 2, "label": "LOC", "start_offset": 14, "end_offset": 18},
        ],
    },
    "Label Studio": LABEL_STUDIO,
    "Label Studio, JSON-MIN": {
        "id": 1,
        "text": TEXT,
        "label": [
            {"start": 0, "end": 8, "text": "Ana Ruiz", "labels": ["PER"]},
            {"start": 14, "end": 18, "text": "Bonn", "labels": ["LOC"]},
        ],
        "annotator": 1,
    },
    "Prodigy": {
        "text": TEXT,
        "_input_hash": 3,
        "tokens": TOKENS,
        "_view_id": "ner_manual",
        "spans": [{**SPANS[0], "token_start": 0, "token_end": 1}, SPANS[1]],
        "answer": "accept",
    },
    "spaCy, Doc.to_json": {
        "text": TEXT,
        "ents": SPANS,
        "tokens": [
            {k: v for k, v in token.items() if k in ("id", "start", "end")} for token in TOKENS
        ],
    },
    "GLiNER, training": {
        "tokenized_text": TEXT.split(),
        "ner": [[0, 1, "PER"], [3, 3, "LOC"]],
    },
    "GLiNER, predictions": {
        "text": TEXT,
        "entities": [
            {**span, "text": TEXT[span["start"] : span["end"]], "score": 0.9} for span in SPANS
        ],
    },
    "Hugging Face, conll2003": {
        "id": "0",
        "tokens": TEXT.split(),
        "pos_tags": [22, 22, 38, 22],
        "chunk_tags": [11, 12, 21, 11],
        "ner_tags": ["B-PER", "I-PER", "O", "B-LOC"],
    },
    "our own predictions": {
        "words": TEXT.split(),
        "tags": ["B-PER", "I-PER", "O", "B-LOC"],
        "spans": [{"start": 0, "end": 2, "start_char": 0, "end_char": 8, "label": "PER"}],
    },
}


@pytest.mark.parametrize("export", EXPORTS)
def test_exports_of_tools(read: Read, export: str) -> None:
    record = EXPORTS[export]
    assert read(record, "x.jsonl")[0] == [ANA]
    assert read(json.dumps([record, record], indent=2), "x.json")[0] == [ANA, ANA]


def test_what_tools_say_of_an_annotation(read: Read) -> None:
    rejected = {**EXPORTS["Prodigy"], "answer": "reject"}
    sentences, report = read([EXPORTS["Prodigy"], rejected], "x.json")
    assert sentences == [ANA] and report.remarks["rejected_records"].lines == [1]
    _, report = read([LABEL_STUDIO], "x.json")
    assert report.remarks["rejected_records"].count == 1
    second = {"result": []}
    twice = {**LABEL_STUDIO, "annotations": [*LABEL_STUDIO["annotations"], second]}
    sentences, report = read([twice], "x.json")
    assert sentences == [ANA] and report.remarks["further_annotations"].count == 1
    undone = {**LABEL_STUDIO, "annotations": []}
    assert read([undone], "x.json")[0] == [Sentence(ANA.words)]


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ({"data": {"a": "x", "b": "y"}, "annotations": []}, "'data' has no 'text' but 'a', 'b'"),
        ({"data": {"text": "x"}}, "'data' without a list of 'annotations'"),
        (
            {"data": {"text": TEXT}, "annotations": [{"result": [{"type": "hypertextlabels"}]}]},
            "of HTML",
        ),
        ({"tokens": TEXT.split(), "entities": SPANS}, "there is no 'text' whose characters"),
        (
            {"tokens": TEXT.split(), "label": {"PER": {"Ana": [[0, 2]]}}},
            "'label' is an object and not a list; write spans",
        ),
        (
            {"text": TEXT, "annotation": [{"start": 0, "end": 3}]},
            "a span of 'annotation' is",
        ),
        ({"tokenized_text": ["a"], "ner": [[0, 1, "x"]]}, "words 0 to 1 of 1; GLiNER counts"),
        ({"tokenized_text": ["a", "b"], "ner": [[0, 1, "x"], [1, 1, "y"]]}, "overlap"),
        (
            {"text": TEXT, "tokens": [{"text": "Ana", "start": 1, "end": 4}]},
            "token 1 is 'Ana', but",
        ),
        ({"tokens": [{"id": 3}]}, "token 1 has no 'text'"),
    ],
)
def test_exports_that_are_not_certain(read: Read, record: Any, says: str) -> None:
    with pytest.raises(UserError, match=rf"x.jsonl:1: .*{says}"):
        read(record, "x.jsonl")


@pytest.mark.parametrize(
    ("entity", "says"),
    [("(PER", None), ("(A(B*)", "not nested"), ("*)", "not nested"), ("PER", "not nested")],
)
def test_ontonotes_brackets(read: Read, entity: str, says: str | None) -> None:
    text = "#begin document x\n" + ontonotes(0, "a", entity)
    expected = says or r":2: the entity 'PER' of this sentence is not closed"
    with pytest.raises(UserError, match=expected):
        read(text, "x.gold_conll")
    with pytest.raises(UserError, match=r":2: 2 columns, and CoNLL-2012 has at least 12"):
        read("#begin document x\na b\n", "x.gold_conll")
