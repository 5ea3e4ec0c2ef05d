"""Situations reported from the field about other tools, each with an input of its own."""

import pytest

from distill_jax.errors import UserError
from distill_jax.tagging import Sentence
from tests.data.readers.conftest import Read

GERMEVAL = "1\tIn\tO\tO\n2\tKöln\tB-LOC\tO\n3\tDeutz\tB-ORG\tB-LOC\n\n1\tHalt\tO\tO\n"


def test_1_an_index_column_is_no_word_and_two_tag_columns_are_named(read: Read) -> None:
    with pytest.raises(
        UserError, match=r"file.tsv:1: .*3, 4 may be .*--columns 2,3 or --columns 2,4"
    ):
        read(GERMEVAL, "file.tsv")
    outer, _ = read(GERMEVAL, "file.tsv", columns="2,3")
    inner, _ = read(GERMEVAL, "file.tsv", columns="2,4")
    assert outer == [
        Sentence(("In", "Köln", "Deutz"), ("O", "B-LOC", "B-ORG")),
        Sentence(("Halt",), ("O",)),
    ]
    assert inner[0].tags == ("O", "O", "B-LOC")
    rows = [line.rpartition("\t")[0] for line in GERMEVAL.split("\n")]
    one_tag, report = read("\n".join(rows), "file.tsv")
    assert one_tag == outer and "index in column 1" in report.layout


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ("1\tIn\tO\n3\tKöln\tO\n", r":1: the first column .'1', …. looks like numbers"),
        ("1\tIn\tO\n\n2\tKöln\tO\n", r":1: the first column .'1', …. looks like numbers"),
        ("1\tIn\n2\tKöln\n", r"first column counts words .*--columns 2 "),
        ("7\tIn\tO\n7\tKöln\tO\n\n8\tHalt\tO\n", r"looks like numbers or names of sentences"),
        ("s1 In O\ns1 Köln O\ns1 ja O\n", r"looks like numbers or names of sentences"),
    ],
)
def test_1_an_index_that_does_not_count_is_refused(read: Read, broken: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        read(broken, "file.tsv")


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ("1\tIn\tO\n3\tKöln\tO\n", "302: .*'3' instead of 2"),
        ("1\tIn\tO\n2\tKöln\tO\n1\tHalt\tO\n", "303: .*'1' instead of 3"),
        ("In\tIn\tO\n", "301: .*'In' instead of 0 or 1"),
    ],
)
def test_1_an_index_is_checked_beyond_the_first_lines(read: Read, broken: str, says: str) -> None:
    long = "".join(f"{number}\tw\tO\n" for number in range(1, 300)) + "\n"
    assert len(read(long, "file.tsv")[0][0].words) == 299
    with pytest.raises(UserError, match=f"file.tsv:{says}"):
        read(long + broken, "file.tsv")


@pytest.mark.parametrize("suffix", ["tsv", "conll", "conllu", "bio", "iob", "iob2", "ner"])
def test_2_column_files_are_never_read_as_text(read: Read, suffix: str) -> None:
    with pytest.raises(UserError, match=rf"^\S+file\.{suffix}:\d: "):
        read("# http://example.org [2009]\nplay some jazz\nand stop\n", f"file.{suffix}")
    sentences, report = read("# http://example.org [2009]\nplay\tO\nit\tB-x\n", f"file.{suffix}")
    assert sentences == [Sentence(("play", "it"), ("O", "B-x"))]
    assert report.remarks["comments"].lines == [1]


def test_2_conllu_gives_its_forms(read: Read) -> None:
    rows = ["1-2\tvámonos", "1\tvamos", "2\tnos", "2.1\tsí", "3\tal mar"]
    text = "# sent_id = 1\n#text = x\n" + "".join(
        f"{row}\t_\tX\t_\t_\t{'_' if '-' in row or '.' in row else 0}\t_\t_\t{misc}\n"
        for row, misc in zip(rows, ["_", "SpaceAfter=No", "_", "_", "_"], strict=True)
    )
    for name in ("tree.conllu", "tree.conll", "tree.txt", "tree.tsv"):
        [sentence], report = read(text, name)
        assert sentence == Sentence(("vamos", "nos", "al mar"))
        assert report.format == "conllu"
        counts = {name: remark.count for name, remark in report.remarks.items()}
        assert counts == {"comments": 2, "multiword_ranges": 1, "empty_nodes": 1, "space_after": 1}


def test_2_conllu_has_tags_in_misc(read: Read) -> None:
    row = "{}\t{}\t_\tX\t_\t_\t0\t_\t_\t{}\n"
    text = row.format(1, "i", "name=O") + row.format(2, "Rom", "SpaceAfter=No|name=B-LOC")
    assert read(text, "x.conllu")[0] == [Sentence(("i", "Rom"), ("O", "B-LOC"))]
    with pytest.raises(UserError, match=r"x.conllu:3: no tag in MISC"):
        read(text + row.format(3, "nu", "_"), "x.conllu")


def test_2_conllu_plus_names_its_columns(read: Read) -> None:
    text = "# global.columns = ID FORM X:NER\n1\tin\tO\n2\tRom\tB-LOC\n"
    assert read(text, "x.conllup")[0] == [Sentence(("in", "Rom"), ("O", "B-LOC"))]


def test_3_hash_signs_that_are_words(read: Read) -> None:
    text = "# id 1\tdomain=en\n#play _ _ O\n# _ _ B-x\nwow _ _ I-x\n\n# id 2\tdomain=en\n# _ _ O\n"
    sentences, report = read(text, "x.conll")
    assert [s.words for s in sentences] == [("#play", "#", "wow"), ("#",)]
    assert report.remarks["comments"].count == 2
    assert read("#\tO\n# 1\tB-x\n", "x.conll")[0] == [Sentence(("#", "# 1"), ("O", "B-x"))]


@pytest.mark.parametrize("name", ["tags", "ner_tags", "labels", "label", "ner", "bio_tags"])
def test_4_usual_names_of_fields(read: Read, name: str) -> None:
    expected = [Sentence(("play", "wow"), ("O", "B-x"))]
    for words in ("tokens", "words", "tokenized_text"):
        assert read({words: ["play", "wow"], name: ["O", "B-x"], "id": 3}, "x.jsonl")[0] == expected
    with pytest.raises(UserError, match=rf"x.jsonl:1: '{name}' holds numbers.*--label_names FILE"):
        read({"tokens": ["play", "wow"], name: [0, 1]}, "x.jsonl")
    integers = {"tokens": ["play", "wow"], name: [0, 1]}
    assert read(integers, "x.jsonl", label_names=("O", "B-x"))[0] == expected
    with pytest.raises(UserError, match=rf"'{name}' holds 1, and there are names for 0 to 0"):
        read(integers, "x.jsonl", label_names=("O",))


def test_4_two_fields_that_may_hold_the_tags(read: Read) -> None:
    record = {"tokens": ["a"], "tags": ["B-x"], "ner_tags": ["O"]}
    with pytest.raises(UserError, match=r"'tags' and 'ner_tags' may both .*--columns tokens,tags"):
        read(record, "x.jsonl")
    assert read(record, "x.jsonl", columns="tokens,ner_tags")[0][0].tags == ("O",)
    assert read(record, "x.jsonl", columns="tokens")[0][0].tags is None
    with pytest.raises(UserError, match=r"'mine' looks like annotation"):
        read({"tokens": ["a"], "mine": ["B-x"]}, "x.jsonl")


def test_5_spans_in_characters(read: Read) -> None:
    text = "ring Ana, um 8 Uhr"
    forms = [
        {"text": text, "label": [[5, 8, "who"], [13, 18, "time"]]},
        {"text": text, "labels": [[5, 8, "who"], [13, 18, "time"]]},
        {"text": text, "entities": [[5, 8, "who"], [13, 18, "time"]]},
        {"text": text, "entities": [{"start": s, "end": e, "label": la} for s, e, la in SPANS]},
        {"text": text, "spans": [{"start": s, "end": e, "type": la} for s, e, la in SPANS]},
        {
            "text": text,
            "entities": [{"start_offset": s, "end_offset": e, "label": la} for s, e, la in SPANS],
        },
        [text, {"entities": [[5, 8, "who"], [13, 18, "time"]]}],
    ]
    for record in forms:
        [sentence], report = read(record, "x.jsonl")
        words = ("ring", "Ana", ",", "um", "8", "Uhr")
        assert sentence == Sentence(words, ("O", "B-who", "O", "O", "B-time", "I-time"))
        assert not report.remarks and report.scheme == "spans"
        [sentence], report = read(record, "x.jsonl", text_words="blanks")
        assert sentence == Sentence(tuple(text.split()), ("O", "B-who", "O", "B-time", "I-time"))
        assert (report.remarks["cut_words"].count, report.remarks["cut_words"].lines) == (1, [1])


SPANS = ((5, 8, "who"), (13, 18, "time"))


@pytest.mark.parametrize(
    ("spans", "says"),
    [
        ([[0, 99, "x"]], "span 0 to 99 .x. does not fit a text of 8 characters"),
        ([[3, 3, "x"]], "span 3 to 3"),
        ([[-1, 3, "x"]], "span -1 to 3"),
        ([[4, 5, "x"]], "holds blanks alone"),
        ([[0, 4, "x"], [2, 8, "y"]], "'ring' .0 to 4, x. overlaps"),
        ([[0, 4, "x"], [0, 4, "y"]], "overlaps"),
        ([[0, 4]], "write .start, end, label."),
        ([[0, 4, ""]], "write .start, end, label."),
        ([["0", 4, "x"]], "write .start, end, label."),
        ([{"start": 0, "end": 4, "label": "x", "text": "Ana"}], "says 'Ana', but .* 'ring'"),
        ([{"start": 0, "end": 4, "labels": ["x", "y"]}], "several labels"),
    ],
)
def test_5_spans_that_cannot_be(read: Read, spans: list, says: str) -> None:
    with pytest.raises(UserError, match=rf"x.jsonl:1: .*{says}"):
        read({"text": "ring Ana", "entities": spans}, "x.jsonl")


def test_5_what_is_mended_in_spans_is_counted(read: Read) -> None:
    spans = [[0, 4, "a"], [0, 4, "a"], [4, 9, "b"], [10, 12, "c"], [13, 16, "d"]]
    record = {"text": "ring  Ana um/Uhr", "entities": spans}
    [sentence], report = read(record, "x.jsonl", text_words="blanks")
    assert sentence.tags == ("B-a", "B-b", "B-d")  # c and d are in one word, and d is longer
    counts = {name: remark.count for name, remark in report.remarks.items()}
    assert counts == {
        "duplicate_spans": 1,
        "trimmed_spans": 1,
        "cut_words": 2,
        "spans_in_one_word": 1,
    }


def test_5_a_span_within_letters_cuts_a_word_by_either_rule(read: Read) -> None:
    [sentence], report = read({"text": "no Unumgänge", "entities": [[3, 5, "x"]]}, "x.jsonl")
    assert sentence.tags == ("O", "B-x") and report.remarks["cut_words"].count == 1


def test_text_becomes_words_by_the_rule_that_its_annotation_asks_for(read: Read) -> None:
    text = "call mara, now"
    words = ("call", "mara", ",", "now")
    cases: list[tuple[dict, dict, tuple[str, ...], str]] = [
        ({"text": text}, {}, tuple(text.split()), "blanks"),
        ({"text": text}, {"text_words": "punctuation"}, words, "punctuation"),
        ({"text": text, "label": []}, {}, words, "punctuation"),
        ({"text": text, "tags": ["O", "B-x", "O"]}, {}, tuple(text.split()), "blanks"),
        (
            {"text": text, "tags": ["O", "B-x", "O"]},
            {"text_words": "punctuation"},
            tuple(text.split()),
            "blanks",
        ),
        ({"text": text}, {"columns": "text"}, tuple(text.split()), "blanks"),
    ]
    for record, how, expected, rule in cases:
        [sentence], report = read(record, "x.jsonl", **how)
        assert sentence.words == expected
        assert sentence.origin is not None and sentence.origin.rule == rule
        assert tuple(text[start:end] for start, end in sentence.origin.offsets) == expected
        assert ("words and punctuation" in report.layout) == (rule == "punctuation")
    [sentence], _ = read({"text": text, "tokens": list(words)}, "x.jsonl")
    assert sentence.origin is not None and sentence.origin.rule is None
    assert sentence.origin.offsets == ((0, 4), (5, 9), (9, 10), (11, 14))
    [sentence], _ = read({"tokens": list(words)}, "x.jsonl")
    assert sentence.origin is None


def test_plain_text_becomes_words_by_a_rule(read: Read) -> None:
    assert read("call mara, now\n", "x.txt")[0][0].words == ("call", "mara,", "now")
    [sentence], _ = read("call  mara,\n", "x.txt", text_words="punctuation")
    assert sentence.words == ("call", "mara", ",")
    with pytest.raises(UserError, match=r"x.txt:1: this model reads words .* give lists of words"):
        read("call mara\n", "x.txt", text_words="given")
    with pytest.raises(UserError, match=r"x.jsonl:1: this model reads words"):
        read({"text": "call mara", "label": []}, "x.jsonl", text_words="given")


def test_5_offsets_in_utf16_units(read: Read) -> None:
    span = {"start": 3, "end": 6, "label": "x", "text": "Ana"}
    [sentence], report = read({"text": "😀 Ana", "entities": [span]}, "x.jsonl")
    assert sentence.tags == ("O", "B-x") and report.remarks["utf16_offsets"].count == 1


@pytest.mark.parametrize(
    "text",
    [
        '{\n "data": [\n  {"tokens": ["play", "wow"], "tags": ["O", "B-x"]}\n ]\n}\n',
        '[\n  {\n    "tokens": ["play", "wow"],\n    "tags": ["O", "B-x"]\n  }\n]\n',
        '[{"tokens": ["play", "wow"], "tags": ["O", "B-x"]}]',
        '{"version": 1, "examples": [{"text": "play wow", "entities": [[5, 8, "x"]]}]}',
        '{"rasa_nlu_data": {"common_examples": [{"text": "play wow", "intent": "p", '
        '"entities": [{"start": 5, "end": 8, "value": "w", "entity": "x"}]}]}}',
        '{"classes": ["X"], "annotations": [["play wow", {"entities": [[5, 8, "x"]]}]]}',
        '{"tokens": ["play", "wow"], "tags": ["O", "B-x"]}\n',
        '{\n"tokens": ["play", "wow"],\n"tags": ["O", "B-x"]}\n',
    ],
)
def test_6_json_documents(read: Read, text: str) -> None:
    for name in ("x.json", "x.txt", "x"):
        assert read(text, name)[0] == [Sentence(("play", "wow"), ("O", "B-x"))]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[\n{"tokens": ["a"]},\n{"tokens": ["b"]\n', ":3: not JSON"),
        ('[\n{"tokens": ["a"]},\n{"tokens": [1]}]\n', ":3: 'tokens' is not a list of strings"),
        ('[\n{"text": "a"}\n] x', ":3: something follows"),
        ('{"train": [{"text": "a"}], "test": [{"text": "b"}]}', "several splits .train, test."),
        ('"a"', ":1: a str, not a list of records"),
        ('[\n{"text": "a"},\n{"text": "b", "text": "c"}]', ":3: the key 'text' occurs twice"),
        ('{"text": "b", "text": "c"}', ":1: the key 'text' occurs twice"),
        ('{"a": 1}', "neither 'tokens'"),
        ("[1]", "a int, not an object"),
    ],
)
def test_6_json_documents_that_are_refused(read: Read, text: str, says: str) -> None:
    with pytest.raises(UserError, match=rf"x.json{says}" if says[0] == ":" else says):
        read(text, "x.json")


JOHN = ("john", "van", "smith", "in", "paris", "texas")
TAGS = ("B-PER", "I-PER", "I-PER", "O", "B-LOC", "B-LOC")


@pytest.mark.parametrize(
    ("scheme", "tags"),
    [
        ("iob2", "B-PER I-PER I-PER O B-LOC B-LOC"),
        ("iob1", "I-PER I-PER I-PER O I-LOC B-LOC"),
        ("bioes", "B-PER I-PER E-PER O S-LOC S-LOC"),
        ("bilou", "B-PER I-PER L-PER O U-LOC U-LOC"),
        ("bmes", "B-PER M-PER E-PER O S-LOC S-LOC"),
        ("bmewo", "B-PER M-PER E-PER O W-LOC W-LOC"),
        ("bilou", "B_PER I_PER L_PER O U_LOC U_LOC"),
        ("bmes", "PER-B PER-M PER-E O LOC-S LOC-S"),
        ("iob2", "PER_B PER_I PER_I O LOC_B LOC_B"),
        ("iob2", "B-PER I-PER I-PER o B-LOC B-LOC"),
        ("iob2", "b-PER i-PER i-PER o b-LOC b-LOC"),
    ],
)
def test_7_schemes_and_notations(read: Read, scheme: str, tags: str) -> None:
    rows = list(zip(JOHN, tags.split(), strict=True))
    expected = [Sentence(JOHN, TAGS)]
    contents = {
        "x.conll": "".join(f"{word}\t{tag}\n" for word, tag in rows),
        "x.txt": "".join(f"{word} {tag}\n" for word, tag in rows),
        "x.tsv": f"{' '.join(JOHN)}\t{tags}\n",
        "x.jsonl": {"tokens": JOHN, "ner_tags": tags.split()},
    }
    for name, content in contents.items():
        sentences, report = read(content, name)
        assert (sentences, report.scheme) == (expected, scheme), name
        assert ("lower_case_tags" in report.remarks) == ("o" in tags)
        assert "illegal_sequences" not in report.remarks
    if "_" not in tags and "o" not in tags and "-B" not in tags:
        assert read(contents["x.conll"], "x.conll", scheme=scheme)[0] == expected


def test_7_bare_tags(read: Read) -> None:
    rows = "in\tO\njohn\tNAME\nsmith\tNAME\nhis\tart-broadcast/show\n"
    [sentence], report = read(rows, "x.conll")
    assert sentence.tags == ("O", "B-NAME", "I-NAME", "B-art-broadcast/show")
    assert report.scheme == "bare"
    with pytest.raises(UserError, match=r"x.txt:1: may be columns with tags, or text"):
        read("in O\njohn NAME\nsmith NAME\n", "x.txt")
    assert read("in O\na O\nb O\nc X\nd X\n", "x.txt")[0][0].tags[3:] == ("B-X", "I-X")
    assert read("x\tI\ny\tcity\nz\tI\n", "x.conll", scheme="sbio")[0][0].tags == (
        "O",
        "B-city",
        "I-city",
    )
    assert read("x\tDT\n", "x.conll", scheme="bare")[0][0].tags == ("B-DT",)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("the\tDT\ndog\tNN\n", ":1: tag 'DT': no word .* the tag 'O'.*--scheme bare"),
        ("in\tO\nx\tB\n", ":2: tag 'B' of 'x' is a prefix without a label"),
        ("in\t0\nx\t1\n", ":1: tag '0' of 'in' is a number.*--label_names"),
        ("in\tO\nx\tB-a\ny\tb\n", ":3: tag 'b' of 'y' is neither"),
        ("in\tO\nx\tB-a\ny\tI_a\n", ":3: tag 'I_a' of 'y' is neither .*'B-a' .line 2."),
        ("in\tO\nx\tB-a\ny\tL-a\nz\tE-a\n", ":4: tag 'E-a' of 'z' is of no scheme.*'L-a' .line 3."),
        ("in\tO\nx\ta\ny\tB-a\n", ":3: tag 'B-a' of 'y' has a prefix"),
        ("in\tO\nx\tQ-a\n", ":2: tag 'Q-a' of 'x' is neither"),
        ("in\tO\nx\tB:a\n", ":2: tag 'B:a' of 'x' is neither"),
        ("in\tO\nx\tB-\n", ":2: tag 'B-' of 'x' is neither"),
        ("in\tO\nx\ta b\n", ":2: tag 'a b' of 'x' has a blank"),
        ("in\tO\nx\t_\n", ":2: tag '_' of 'x' has no letter"),
    ],
)
def test_7_tags_that_are_not_certain(read: Read, rows: str, says: str) -> None:
    with pytest.raises(UserError, match=rf"x.conll{says}"):
        read(rows, "x.conll")


def test_7_a_scheme_that_is_named_is_kept_to(read: Read) -> None:
    with pytest.raises(UserError, match=r":1: tag 'E-a' of 'x' is not of the scheme iob2"):
        read("x\tE-a\n", "x.conll", scheme="iob2")


def test_7_illegal_sequences_are_counted(read: Read) -> None:
    [_, second], report = read("a\tB-x\n\na\tI-x\nb\tI-y\n\n", "x.conll")
    assert second.tags == ("B-x", "B-y")
    assert report.scheme == "iob2" and report.remarks["illegal_sequences"].lines == [3]
    _, report = read("a\tB-x\nb\tO\n\nc\tU-x\n", "x.conll")
    assert report.scheme == "bilou" and report.remarks["illegal_sequences"].lines == [1]


@pytest.mark.parametrize("end", ["\r", "\r\n", "\n", "\r\r\n"])
def test_8_line_ends(read: Read, end: str) -> None:
    content = end.join(["play\tO", "wow\tB-x", "", "stop\tO", ""])
    expected = [Sentence(("play", "wow"), ("O", "B-x")), Sentence(("stop",), ("O",))]
    sentences, report = read(content)
    assert sentences == expected
    assert ("cr_line_ends" in report.remarks) == (end == "\r")
    assert read(content, "x.txt")[0] == expected


def test_8_a_carriage_return_among_line_feeds_ends_a_line(read: Read) -> None:
    sentences, _ = read("play O\rwow B-x\nstop O\n")
    assert sentences == [Sentence(("play", "wow", "stop"), ("O", "B-x", "O"))]
    with pytest.raises(UserError, match=r"file.conll:3: only one column"):
        read("play O\rwow B-x\rstop\nit O\n")
