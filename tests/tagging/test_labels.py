"""Label sets: ids, hash, file, and every mistake a file can hold."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_jax.errors import UserError
from distill_jax.tagging import LabelSet, Sentence, default_text

LABELS = LabelSet(("city", "toloc.city_name"), ("city", "Ziel"))
IOB2_TAGS = ["O", "B-city", "I-city", "B-toloc.city_name", "I-toloc.city_name"]

words = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=4)
texts = st.lists(words, min_size=1, max_size=3).map(" ".join).filter(lambda t: t not in ("O", "I"))
label_sets = st.dictionaries(texts, texts, min_size=1, max_size=5).filter(
    lambda d: len(set(d.values())) == len(d)
)


def test_tags_and_texts_in_sbio_order() -> None:
    labels = LabelSet(("depart_date.day-name", "City"))
    assert labels.texts == ("depart date day name", "City")
    assert labels.tags == ("O", "I", "depart_date.day-name", "City")
    assert labels.tag_texts == ("O", "I", "depart date day name", "City")
    assert labels.num_tags == 4
    assert [labels.index(tag) for tag in labels.tags] == [0, 1, 2, 3]
    assert default_text("_x.") == "x"
    with pytest.raises(UserError, match="'city' is not in the label set"):
        labels.index("city")


def test_encode_and_decode() -> None:
    tags = ["B-city", "I-city", "O", "B-toloc.city_name", "B-city"]
    ids = LABELS.encode_iob2(tags)
    assert ids.dtype == np.int32
    assert ids.tolist() == [2, 1, 0, 3, 2]
    assert LABELS.decode_iob2(ids) == tags
    assert LABELS.encode_iob2(["I-city", "I-toloc.city_name"]).tolist() == [2, 3]
    assert LABELS.decode_iob2([1, 0, 1, 2]) == ["O", "O", "O", "B-city"]
    assert LABELS.encode_iob2([]).shape == (0,)
    assert LABELS.decode_iob2([]) == []


@given(st.lists(st.sampled_from(IOB2_TAGS), max_size=10))
@settings(deadline=None)
def test_encoding_what_was_decoded_changes_nothing(tags: list[str]) -> None:
    ids = LABELS.encode_iob2(tags)
    assert LABELS.encode_iob2(LABELS.decode_iob2(ids)).tolist() == ids.tolist()


@pytest.mark.parametrize("tag", ["B-country", "I-O", "B-I"])
def test_a_tag_outside_the_set_is_named(tag: str) -> None:
    with pytest.raises(UserError, match=f"'{tag}' of word 2.*not in the label set"):
        LABELS.encode_iob2(["O", tag])


@pytest.mark.parametrize("ids", [[-1], [0, 4]])
def test_ids_outside_the_set(ids: list[int]) -> None:
    with pytest.raises(ValueError, match="0 to 3"):
        LABELS.decode_iob2(ids)


def test_from_sentences() -> None:
    sentences = [
        Sentence(("a", "b"), ("B-y", "I-z")),
        Sentence(("c",)),
        Sentence(("d",), ("B-x",)),
    ]
    assert LabelSet.from_sentences(iter(sentences)) == LabelSet(("x", "y", "z"))
    with pytest.raises(UserError, match="no sentence has a labelled span"):
        LabelSet.from_sentences([Sentence(("a",), ("O",))])


def test_other_texts() -> None:
    changed = LABELS.with_texts({"city": "town"})
    assert changed == LabelSet(LABELS.names, ("town", "Ziel"))
    assert LABELS.with_texts({}) == LABELS
    with pytest.raises(UserError, match="'town', which is not in the label set"):
        LABELS.with_texts({"town": "city"})
    with pytest.raises(UserError, match="same text 'Ziel'"):
        LABELS.with_texts({"city": "Ziel"})
    assert LABELS.with_texts({"city": "Ziel", "toloc.city_name": "to"}).texts == ("Ziel", "to")


def test_hash_depends_on_order_names_and_texts() -> None:
    variants = [
        LabelSet(("a", "b")),
        LabelSet(("b", "a")),
        LabelSet(("a", "c")),
        LabelSet(("a", "b"), ("a", "x")),
        LabelSet(("a", "b"), ("b", "a")),
        LabelSet(("a", "b", "c")),
    ]
    assert len({labels.content_hash() for labels in variants}) == len(variants)
    assert LabelSet(("a", "b"), ("a", "b")).content_hash() == variants[0].content_hash()


def test_hash_is_the_same_in_every_process() -> None:
    program = (
        "from distill_jax.tagging import LabelSet; print(LabelSet(('ä', 'b_c')).content_hash())"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert hashes == {LabelSet(("ä", "b_c")).content_hash()}


@given(label_sets)
@settings(deadline=None, max_examples=50)
def test_file_round_trip(tmp_path_factory, texts_of: dict[str, str]) -> None:
    path = tmp_path_factory.mktemp("labels") / "labels.txt"
    labels = LabelSet(tuple(texts_of), tuple(texts_of.values()))
    labels.save(path)
    assert LabelSet.load(path) == labels


def test_file_format(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    LABELS.save(path)
    assert path.read_bytes() == b"city\ntoloc.city_name\tZiel\n"
    path.write_bytes(b"\xef\xbb\xbfcity\r\ntoloc.city_name\tZiel\r\n\r\n")  # as Windows saves it
    assert LabelSet.load(path) == LABELS
    path.write_bytes(b"city")
    assert LabelSet.load(path) == LabelSet(("city",))


BAD_FILES = {
    b"": (1, "empty"),
    b"\n\n": (1, "empty"),
    b"a\n\nb\n": (2, "name is empty"),
    b"a\n\ttext\n": (2, "name is empty"),
    b"a\nb\t\n": (2, "text is empty"),
    b"a\nb\t \n": (2, "text is empty"),
    b"_\n": (1, "text is empty"),
    b"a\tx\nb\na\ty\n": (3, "name 'a' occurs twice"),
    b"a_b\na.b\n": (2, "same text"),
    b"a\nb\ta\n": (2, "same text"),
    b"a\tx y\nb\tx  y\n": (2, "same text"),
    b"a\nO\n": (2, "'O' is one of the tags"),
    b"I\tinside\n": (1, "'I' is one of the tags"),
    b"a\tO\n": (1, "'O' is one of the tags"),
    b"a\nb\tI\n": (2, "'I' is one of the tags"),
    b"-I\n": (1, "'I' is one of the tags"),
    b"a\tb\tc\n": (1, "more than one tab"),
    b"a\n b\n": (2, "space at its ends"),
    b"a\x07\n": (1, "control character"),
    b"a\xe2\x80\xa8b\n": (1, "control character"),
    b"a\nb\xff\n": (2, "not UTF-8"),
}


@pytest.mark.parametrize(("content", "line", "reason"), [(k, *v) for k, v in BAD_FILES.items()])
def test_bad_files_name_file_line_and_reason(
    tmp_path: Path, content: bytes, line: int, reason: str
) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        LabelSet.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:{line}: ")
    assert reason in message
    assert "\n" not in message


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"labels\.txt: cannot read"):
        LabelSet.load(tmp_path / "labels.txt")
    with pytest.raises(UserError, match="cannot read"):
        LabelSet.load(tmp_path)


@pytest.mark.parametrize(
    ("names", "texts", "reason"),
    [
        ((), (), "at least one label"),
        (("a", "b"), ("x",), "2 names but 1 texts"),
        (("a", "a"), (), "label 2 of the label set.*occurs twice"),
        (("a", ""), (), "label 2.*name is empty"),
        (("a", "b"), ("x", "x"), "same text"),
        (("a",), ("",), "text is empty"),
        (("O",), (), "one of the tags"),
        (("a\tb",), (), "control character"),
        (("a",), ("x\ny",), "control character"),
        (("\ud800",), (), "control character"),
    ],
)
def test_sets_that_cannot_be(names, texts, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        LabelSet(names, texts)


def test_real_data_makes_valid_label_sets(shared_dir: Path) -> None:
    for path in (shared_dir / "data").glob("*/test.conll"):
        lines = path.read_text("utf-8").splitlines()
        tags = tuple(line.rsplit("\t", 1)[-1] for line in lines if line)
        labels = LabelSet.from_sentences([Sentence(tags, tags)])
        assert labels.decode_iob2(labels.encode_iob2(tags)) == list(tags)


def test_tags_of_labels_outside_the_set() -> None:
    labels = LabelSet(("city", "day"))
    tags = ("B-city", "I-city", "B-x", "I-x", "O", "I-day", "B-y")
    ids, unknown = labels.encode_known_iob2(tags)
    assert ids.tolist() == [2, 1, -1, -1, 0, 3, -1]
    assert [(span.start, span.end, span.label) for span in unknown] == [(2, 4, "x"), (6, 7, "y")]
    known = ("B-city", "I-city", "O", "I-day")
    assert labels.encode_known_iob2(known)[0].tolist() == labels.encode_iob2(known).tolist()
    assert labels.encode_known_iob2(())[0].shape == (0,)
