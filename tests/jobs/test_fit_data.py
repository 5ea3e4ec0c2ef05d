"""What `fit` learns from: carved, compared, and refused before anything is computed."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from distill_jax.data.readers import ReadOptions, write_conll
from distill_jax.errors import UserError
from distill_jax.jobs.fit_data import SWAPPED, FitData, read_fit_data, task_name, with_swapped
from distill_jax.tagging import Sentence

CITIES = ("oslo", "rome", "berlin", "paris", "lima")


def sentence(number: int, label: str = "city") -> Sentence:
    words = ("fly", f"n{number}", "to", CITIES[number % 5])
    return Sentence(words, ("O", "O", "O", f"B-{label}"))


GIVEN = [sentence(number, "city" if number % 2 else "town") for number in range(50)]


def read(folder: Path, **splits: Sequence[Sentence]) -> FitData:
    for split, sentences in splits.items():
        write_conll(folder / f"{split}.conll", sentences)
    return read_fit_data(str(folder))


def test_dev_is_carved_and_said_so(tmp_path: Path) -> None:
    data = read(tmp_path / "my set", train=GIVEN)
    assert (len(data.train), len(data.dev), len(data.test)) == (40, 10, 0)
    assert {s.words for s in [*data.train, *data.dev]} == {s.words for s in GIVEN}
    assert any("10 of the 50 sentences are held out as one (seed 0)" in line for line in data.said)
    again = read_fit_data(str(tmp_path / "my set"))
    other = read_fit_data(str(tmp_path / "my set"), seed=1)
    assert again.dev == data.dev != other.dev
    assert data.labels.names == ("city", "town")
    assert data.name == "my_set_data"


def test_what_is_held_out_is_in_train_nowhere(tmp_path: Path) -> None:
    data = read(tmp_path, train=[*GIVEN, *GIVEN])
    assert not {s.words for s in data.train} & {s.words for s in data.dev}


def test_a_file_alone_will_do(tmp_path: Path) -> None:
    write_conll(tmp_path / "all.conll", GIVEN)
    assert len(read_fit_data(str(tmp_path / "all.conll"), dev=7).dev) == 7


def test_text_with_spans_says_how_texts_become_words(tmp_path: Path) -> None:
    lines = [
        {
            "text": f"Fly {n} to Rome, now.",
            "label": [[len(f"Fly {n} to "), len(f"Fly {n} to Rome"), "city"]],
        }
        for n in range(30)
    ]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "pool.txt").write_text(
        "Go to Lima, now.\nFly 1 to Rome, now.\n\nGo to Lima, now.\n"
    )
    data = read_fit_data(str(tmp_path), [str(tmp_path / "pool.txt")])
    assert data.text_words == "punctuation"
    # What is labelled, empty or repeated is left out.
    assert [s.words for s in data.unlabelled] == [("Go", "to", "Lima", ",", "now", ".")]


def test_words_with_punctuation_apart_are_read_so_in_text(tmp_path: Path) -> None:
    given = [Sentence((*s.words, "."), (*s.tags, "O")) for s in GIVEN if s.tags]
    write_conll(tmp_path / "train.conll", given)
    (tmp_path / "pool.txt").write_text("fly to lima.\n")
    data = read_fit_data(str(tmp_path), [str(tmp_path / "pool.txt")])
    assert data.unlabelled[0].words == ("fly", "to", "lima", ".")
    assert data.text_words == "punctuation"


def tagged(text: str) -> Sentence:
    words = tuple(text.split())
    return Sentence(words, ("B-city", *("O",) * (len(words) - 1)))


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("Fly to Rome , now .", "punctuation"),
        ("In the U.S. , mayors said so , twice .", "punctuation"),  # abbreviations are rarer
        ("中 国 在 哪 里", "punctuation"),
        ("中国 在 哪里", "blanks"),  # words that no rule finds again
        ("what's on at 7 p.m. today", "blanks"),
        ("Fly to Rome, now.", "blanks"),
        ("fly to rome now", "blanks"),
    ],
)
def test_how_texts_become_words_is_read_off_the_training_words(
    tmp_path: Path, text: str, rule: str
) -> None:
    given = [tagged(f"{text} {'n' * number}") for number in range(1, 31)]
    other = [tagged("a , b .")] * 90
    data = read(tmp_path, train=given, test=other)  # neither text nor the test split is asked
    assert data.text_words == rule
    where = "blanks and punctuation" if rule == "punctuation" else "blanks"
    assert any(f"raw text is split at {where}, as" in line for line in data.said)
    said = read_fit_data(str(tmp_path), reading=ReadOptions(text_words="blanks"))
    assert said.text_words == "blanks"


def test_untagged_training_sentences_are_unlabelled_text(tmp_path: Path) -> None:
    lines = [{"tokens": s.words, "tags": s.tags} for s in GIVEN] + [{"tokens": ["hello", "you"]}]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    data = read_fit_data(str(tmp_path))
    assert [s.words for s in data.unlabelled] == [("hello", "you")]


def test_few_sentences_without_text_have_their_mentions_swapped(tmp_path: Path) -> None:
    data = read(tmp_path / "few", train=GIVEN, test=GIVEN[:3])
    swapped = with_swapped(data, seed=0)
    assert swapped.swapped
    made = [s.words for s in swapped.unlabelled]
    assert len(GIVEN) < len(set(made)) == len(made) <= SWAPPED * len(data.train)
    assert not set(made) & {s.words for s in [*data.train, *data.dev, *data.test]}
    gold = {s.words[:3] for s in data.train}
    assert all(words[:3] in gold and words[3] in CITIES for words in made)
    assert all(s.tags is None for s in swapped.unlabelled)  # the teacher's are theirs
    assert with_swapped(data, seed=0).hashes() == swapped.hashes()
    assert with_swapped(data, seed=1).hashes() != swapped.hashes()


def test_variants_are_not_made_where_there_is_text_or_enough_or_nothing_to_swap(
    tmp_path: Path,
) -> None:
    (tmp_path / "pool.txt").write_text("what now\n")
    read(tmp_path / "few", train=GIVEN)
    with_text = read_fit_data(str(tmp_path / "few"), [str(tmp_path / "pool.txt")])
    enough = read(tmp_path / "enough", train=[sentence(number) for number in range(1300)])
    alike = [Sentence((f"w{n}", "oslo"), ("O", "B-city")) for n in range(30)]
    for data in (with_text, enough, read(tmp_path / "alike", train=alike)):
        assert with_swapped(data, seed=0) is data


def test_a_foreign_text_is_noticed(tmp_path: Path) -> None:
    write_conll(tmp_path / "train.conll", GIVEN)
    (tmp_path / "pool.txt").write_text("ich möchte nach hause\n")
    data = read_fit_data(str(tmp_path), [str(tmp_path / "pool.txt")])
    assert any("another language or format?" in line for line in data.said)


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": [Sentence(s.words, ("O",) * 4) for s in GIVEN]}, "every word has the tag O"),
        (
            {"train": [Sentence((f"a{n}",), ("B-x",)) for n in range(30)]},
            "every word has the label 'x'",
        ),
        ({"train": GIVEN[:10]}, r"too few different labelled sentences to learn from .*\(10\)"),
        ({"train": GIVEN[:1] * 40}, r"too few different labelled sentences to learn from .*\(1\)"),
        ({"train": GIVEN, "dev": GIVEN[:8]}, "8 of 8 dev sentences are in train as well"),
        ({"test": GIVEN}, "there is no training file"),
    ],
)
def test_what_cannot_be_learnt_from(
    tmp_path: Path, splits: dict[str, list[Sentence]], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read(tmp_path, **splits)


def test_files_that_are_not_what_they_should_be(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        read_fit_data(str(tmp_path / "nowhere"))
    (tmp_path / "text.txt").write_text("words without tags\n" * 3)
    with pytest.raises(UserError, match="its sentences have no tags"):
        read_fit_data(str(tmp_path / "text.txt"))
    write_conll(tmp_path / "train.conll", GIVEN)
    write_conll(tmp_path / "same.conll", GIVEN)
    with pytest.raises(UserError, match="no sentence that is not labelled already"):
        read_fit_data(str(tmp_path / "train.conll"), [str(tmp_path / "same.conll")])


def test_a_few_repeated_dev_sentences_are_left_out(tmp_path: Path) -> None:
    data = read(tmp_path, train=GIVEN[:40], dev=[*GIVEN[40:], GIVEN[0]], test=GIVEN[:1])
    assert len(data.dev) == 10
    assert any("1 dev sentences are in train as well: left out" in line for line in data.said)
    assert any("1 test sentences are in train as well" in line for line in data.said)


def test_names_of_tasks(tmp_path: Path) -> None:
    assert task_name(Path("a/my-data.v2.jsonl")) == "my_data_data"
    assert task_name(tmp_path / "é b.conll") == "é_b_data"
