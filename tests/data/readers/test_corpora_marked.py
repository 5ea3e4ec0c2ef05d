"""Corpora whose columns hold more than words and tags: brackets, languages, comments, MISC."""

import pytest

from distill_jax.errors import UserError
from distill_jax.tagging import Sentence
from tests.data.readers.conftest import Read
from tests.data.readers.test_corpora import ANA, NO

HIPE = "TOKEN\tNE-COARSE-LIT\tNE-COARSE-METO\tNE-FINE-LIT\tNEL-LIT\tMISC\n"


def hipe(word: str, tag: str, misc: str = "_") -> str:
    return f"{word}\t{tag}\tO\t{tag}\t_\t{misc}\n"


def conllu(*rows: tuple[str, str]) -> str:
    lines = [f"{i}\t{w}\t{w}\tX\t_\t_\t0\tdep\t_\t{misc}" for i, (w, misc) in enumerate(rows, 1)]
    return "\n".join([*lines, "", ""])


@pytest.mark.parametrize("name", ["props.txt", "props.conll", "train-set"])
@pytest.mark.parametrize("between", ["", " NNP -"])
def test_entities_in_brackets(read: Read, name: str, between: str) -> None:
    cells = ("Ana", "(PER*"), ("Ruiz", "*)"), ("left", "*"), ("Bonn", "(LOC)")
    rows = "".join(f"{word}{between} {cell}\n" for word, cell in cells)
    sentences, report = read(rows + f"\nNo{between} *\n.{between} *\n", name)
    assert sentences == [ANA, NO] and report.format == "conll"
    with pytest.raises(UserError, match=r":2: entity '\(X\*': .*not nested"):
        read(
            f"a{between} (Y*\nb{between} (X*\nc{between} *)\n",
            name,
            columns="1,2" * (not between) or "1,4",
        )
    with pytest.raises(UserError, match=r":1: the entity 'PER' of this sentence is not closed"):
        read(f"Ana{between} (PER*\nRuiz{between} *\n\n", "x.conll")


def test_wikiann_has_a_language_before_each_word(read: Read) -> None:
    rows = "en:Ana\tB-PER\nen:Ruiz\tI-PER\nen:left\tO\nen:Bonn\tB-LOC\n\nen:No\tO\nen:.\tO\n"
    for name in ("train", "train.txt", "en.tsv"):
        sentences, report = read(rows, name)
        assert sentences == [ANA, NO]
        assert report.remarks["language_prefixes"].count == 6
    assert read(rows, columns="1,2")[0][0].words == ("en:Ana", "en:Ruiz", "en:left", "en:Bonn")
    late = rows + "\n" + "en:a\tO\n" * 300 + "de:a\tO\n"
    with pytest.raises(UserError, match=r":309: the word 'de:a' does not begin with 'en:'"):
        read(late)
    with pytest.raises(UserError, match=r":1: 'en:Ana' may have its language .*--columns"):
        read("en:Ana\tO\n")
    assert read("en:\u00a0x\tO\nen:y\tO\n")[0][0].words == ("\u00a0x", "y")
    assert read("en:Ana\tO\nen:\tO\n")[0] == [Sentence(("en:Ana", "en:"), ("O", "O"))]


def test_weibo_has_digits_upon_characters(read: Read) -> None:
    rows = "科0\tO\n技1\tB-PER.NOM\n全0\tI-PER.NOM\n"
    with pytest.raises(UserError, match=r":1: .*'科0', '技1', .*remove the digits"):
        read(rows)
    assert read(rows, columns="1,2")[0][0].words == ("科0", "技1", "全0")


def test_hipe(read: Read) -> None:
    rows = (
        f"{HIPE}# hipe2022:language = de\n# segment_iiif_link = x\n{hipe('Ana', 'B-PER')}"
        f"# segment_iiif_link = y\n{hipe('Ruiz', 'I-PER', 'NoSpaceAfter|EndOfLine')}"
        f"{hipe('left', 'O')}{hipe('Bonn', 'B-LOC', 'EndOfLine|EndOfSentence')}"
        f"{hipe('No', 'O')}{hipe('.', 'O', 'PySBDSegment')}"
    )
    with pytest.raises(
        UserError, match=r":1: several .*NE-FINE-LIT; .*--columns TOKEN,NE-COARSE-L"
    ):
        read(rows, "x.tsv")
    sentences, report = read(rows, "x.tsv", columns="TOKEN,NE-COARSE-LIT")
    assert sentences == [ANA, NO]
    counts = {name: remark.count for name, remark in report.remarks.items()}
    assert counts == {"header": 1, "comments": 3, "space_after": 1}
    with pytest.raises(UserError, match=r":3: only one column, '# b'"):
        read(f"{HIPE}{hipe('a', 'O')}# b\n{hipe('c', 'O')}", "x.tsv", columns="1,2")


def test_klue_has_a_row_for_each_blank(read: Read) -> None:
    rows = "## klue-ner-v1_train_00000\t<A:PS> B\nA\tB-PS\n \tO\nB\tO\n\n## klue-1\tC\n##\tO\n"
    sentences, report = read(rows, "train.tsv")
    assert sentences == [Sentence(("A", "B"), ("B-PS", "O")), Sentence(("##",), ("O",))]
    counts = {name: remark.count for name, remark in report.remarks.items()}
    assert counts == {"comments": 2, "blank_rows": 1}
    with pytest.raises(UserError, match=r":2: the word is empty"):
        read("A\tB-PS\n\tO\n", "train.tsv")


@pytest.mark.parametrize("key", ["NER", "ner", "NE", "Ne", "name"])
def test_tags_in_misc(read: Read, key: str) -> None:
    rows = conllu(
        ("Ana", f"{key}=B-PER"),
        ("Ruiz", f"SpaceAfter=No|{key}=I-PER"),
        ("left", f"{key}=O"),
        ("Bonn", f"Gloss=x|{key}=B-LOC"),
    )
    sentences, report = read(rows, "x.conllu")
    assert sentences == [ANA] and report.remarks["space_after"].count == 1
    plus = "# global.columns = ID FORM MISC\n" + f"1\tAna\t{key}=B-PER\n2\tleft\t{key}=O\n"
    assert read(plus, "x.conllup")[0] == [Sentence(("Ana", "left"), ("B-PER", "O"))]


def test_annotation_in_misc_that_is_not_read(read: Read) -> None:
    with pytest.raises(UserError, match=r":2: 'Bio=B-PER' in MISC .*--columns 2"):
        read(conllu(("so", "Bio=O"), ("Ana", "Bio=B-PER")), "x.conllu")
    assert read(conllu(("Ana", "Bio=B-PER")), "x.conllu", columns="2")[0] == [Sentence(("Ana",))]
    for misc in ("Entity=(1-person-new-1-2", "NamedEntity=Yes", "Entity=1)"):
        sentences, report = read(conllu(("Ana", misc), ("left", "_")), "x.conllu")
        assert sentences == [Sentence(("Ana", "left"))]
        assert report.remarks["unread_misc"].lines == [1]


def test_no_space_after_is_counted_whatever_is_read(read: Read) -> None:
    rows = conllu(("Ana", "_"), ("left", "SpaceAfter=No"))
    span = "1-2\tvamonos\t_\t_\t_\t_\t_\t_\t_\tSpaceAfter=No\n"
    for columns in (None, "2", "FORM"):
        report = read(span + rows, "x.conllu", columns=columns)[1]
        assert report.remarks["space_after"].count == 2


def test_a_header_of_unusual_names_is_no_word(read: Read) -> None:
    with pytest.raises(UserError, match=r":1: .*names of columns; .*--columns Token,entity_type"):
        read("Token\tentity_type\nAna\tPER\nleft\tO\n", "x.tsv")
    rows = "Token\tentity_type\nAna\tPER\nleft\tO\n"
    read_by_name = read(rows, "x.tsv", columns="Token,entity_type")[0]
    assert read_by_name == [Sentence(("Ana", "left"), ("B-PER", "O"))]
    assert read("token\tO\nAna\tPER\n", "x.tsv")[0][0].words == ("token", "Ana")


def test_o_before_a_tag_may_be_either(read: Read) -> None:
    with pytest.raises(UserError, match=r":1: both columns may be the tags \('O', 'B-x'\)"):
        read("O\tB-x\n", "x.bio")
    with pytest.raises(UserError, match=r":1: both columns may be the tags \('o', '\*'\)"):
        read("o\t*\n", "x.conll")
    for word in ("*", "(a)", "(a*"):
        assert read(f"{word}\tO\n", "x.conll")[0] == [Sentence((word,), ("O",))]
    assert read("O\tO\n", "x.bio")[0] == [Sentence(("O",), ("O",))]
