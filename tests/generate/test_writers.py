"""Examples hold what they are to teach; prompts are functions of seed and number; words come back."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from distill_jax.errors import UserError
from distill_jax.generate.infill import InfillWriter
from distill_jax.generate.labelled import LabelledWriter, read_tagged, usable_sentinels
from distill_jax.generate.prompt import Prompt, Writer, words_of
from distill_jax.generate.sampler import TAGGED
from distill_jax.generate.text import TextWriter
from distill_jax.generate.writers import load_writer, save_writer
from distill_jax.tagging import Sentence
from distill_jax.vocab import ByteVocabulary

BYTES = ByteVocabulary()
GOLD = [
    Sentence(
        tuple(["fly", "from", "oslo", "to", "new", "york"]), ("O", "O", "B-a", "O", "B-b", "I-b")
    ),
    Sentence(
        tuple(["play", "wow", "by", "jon", "theodore", "now"]), ("O", "B-c", "O", "B-d", "I-d", "O")
    ),
]


def test_a_text_is_learnt_whole() -> None:
    [(inputs, target), _] = TextWriter(name_labels=True).examples(GOLD, BYTES)
    assert BYTES.decode(inputs) == "write a sentence: a, b" and inputs[-1] == BYTES.eos_id
    assert BYTES.decode(target) == "fly from oslo to new york" and target[-1] == BYTES.eos_id
    prompt = TextWriter().prompt(GOLD, BYTES, 3, seed=0)
    assert prompt.spans == 0 and BYTES.decode(prompt.inputs) == "write a sentence"
    assert words_of(prompt, target, BYTES) == GOLD[0].words


@pytest.mark.parametrize("masked", ["mentions", "context", "both"])
def test_spans_and_what_is_kept_are_the_sentence(masked: str) -> None:
    writer = InfillWriter(masked=masked, copies=30)  # type: ignore[arg-type]
    pairs = writer.examples(GOLD, BYTES)
    assert len(pairs) == 60
    for number, (inputs, target) in enumerate(pairs):
        masks = writer.masks(
            GOLD[number // 30], np.random.default_rng([0, *divmod(number, 30)]), BYTES
        )
        words = GOLD[number // 30].words
        text, filled = BYTES.decode(inputs), BYTES.decode(target)
        for place, (start, end) in enumerate(masks):
            assert (
                f"<extra_id_{place}> {' '.join(words[start:end])} <extra_id_{place + 1}>" in filled
            )
            text = text.replace(f"<extra_id_{place}>", " ".join(words[start:end]))
        assert text == " ".join(words)
    masked_words = {
        word
        for copy in range(30)
        for start, end in writer.masks(GOLD[0], np.random.default_rng([0, 0, copy]), BYTES)
        for word in GOLD[0].words[start:end]
    }
    mentions, context = {"oslo", "new", "york"}, {"fly", "from", "to"}
    expected = {"mentions": mentions, "context": context, "both": mentions | context}
    assert masked_words == expected[masked]


def test_an_infilled_sentence_is_what_was_kept_and_what_was_written() -> None:
    writer = InfillWriter(masked="mentions", share=1.0)
    prompt = writer.prompt(GOLD, BYTES, 2, seed=5)  # gold sentence 0, counted round
    s = BYTES.sentinel_ids
    written = [s[0], *BYTES.encode("rome"), s[1], *BYTES.encode(" cape  town "), s[2]]
    assert words_of(prompt, written, BYTES) == tuple(["fly", "from", "rome", "to", "cape", "town"])
    assert words_of(prompt, written[:3], BYTES)[:2] == ("fly", "from")  # cut off


def test_what_can_be_masked() -> None:
    plain = Sentence(("good", "morning"), ("O", "O"))
    for masked, expected in (("mentions", False), ("context", True), ("both", True)):
        writer = InfillWriter(masked=masked)  # type: ignore[arg-type]
        assert writer.can_mask(plain) == expected == bool(writer.examples([plain], BYTES))
    assert not InfillWriter().can_mask(Sentence((), ()))
    assert InfillWriter(masked="mentions").can_mask(GOLD[0])


def test_prompts_depend_on_seed_and_number_alone() -> None:
    writer = InfillWriter()
    inputs = [writer.prompt(GOLD, BYTES, n, seed=1).inputs.tolist() for n in range(20)]
    assert inputs == [writer.prompt(GOLD, BYTES, n, seed=1).inputs.tolist() for n in range(20)]
    assert inputs != [writer.prompt(GOLD, BYTES, n, seed=2).inputs.tolist() for n in range(20)]


def test_a_tagged_sentence_is_learnt_and_read() -> None:
    writer = LabelledWriter()
    pairs = writer.examples(GOLD, BYTES)
    assert BYTES.decode(pairs[0][0]) == "write a tagged sentence"
    written = [BYTES.decode(target) for _, target in pairs]
    s = [f"<extra_id_{n}>" for n in range(7)]
    assert (
        written[0]
        == f"{s[0]} fly from {s[1]} a {s[2]} oslo {s[3]} to {s[4]} b {s[5]} new york {s[6]}"
    )
    prompt = writer.prompt(GOLD, BYTES, 3, seed=0)
    read = writer.reader(GOLD, BYTES)
    for sentence, (inputs, target) in zip(GOLD, pairs, strict=True):
        assert prompt.inputs.tolist() == inputs.tolist() and prompt.spans == TAGGED
        assert read(prompt, target) == (sentence.words, sentence.tags, True)


def test_mentions_side_by_side_and_labels_with_spaces() -> None:
    gold = [Sentence(("oslo", "rome", "now"), ("B-to.city", "B-to.city", "O"))]
    [(_, target)] = LabelledWriter().examples(gold, BYTES)
    assert "to city" in BYTES.decode(target)
    assert LabelledWriter().reader(gold, BYTES)(Prompt(target), target) == (
        gold[0].words,
        gold[0].tags,
        True,
    )


S = BYTES.sentinel_ids
MALFORMED = {
    "unknown label": [
        S[0],
        *BYTES.encode("to"),
        S[1],
        *BYTES.encode("z"),
        S[2],
        *BYTES.encode("oslo"),
        S[3],
    ],
    "no label": [S[0], *BYTES.encode("to"), S[1], S[2], *BYTES.encode("oslo"), S[3], 1],
    "no words": [S[0], *BYTES.encode("to oslo"), S[1], *BYTES.encode("a"), S[2], S[3], 1],
    "cut off": [S[0], *BYTES.encode("to"), S[1], *BYTES.encode("a"), S[2], *BYTES.encode("oslo")],
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_no_tagged_sentence(name: str) -> None:
    found = read_tagged(MALFORMED[name], BYTES, {"a": "a"})
    assert found == (("to", "oslo"), None, False)


def test_tags_that_cannot_be_written() -> None:
    writer = LabelledWriter()
    many = Sentence(tuple("x" * 42), ("B-a",) * 42)
    assert usable_sentinels(BYTES) == 124
    for gold, words in (
        ([Sentence(("a",))], "gold sentence 1 (a…) has no tags"),
        ([Sentence(("a",), ("O",))], "no mentions"),
        ([Sentence(("a", "b"), ("B-x_y", "B-x-y"))], "'x_y' and 'x-y' both read 'x y'"),
        ([many], "has 42 mentions, and the vocabulary's"),
    ):
        with pytest.raises(UserError, match=re.escape(words)):
            writer.examples(gold, BYTES)
    with pytest.raises(UserError, match="3 sentinels"):
        usable_sentinels(SimpleNamespace(num_sentinels=3))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "writer", [TextWriter("say", True), InfillWriter("context", 0.2, 2, 3), LabelledWriter("tag")]
)
def test_a_generator_keeps_its_writer(writer: Writer, tmp_path: Path) -> None:
    assert load_writer(tmp_path) is None
    save_writer(tmp_path, writer)
    assert load_writer(tmp_path) == writer
    (tmp_path / "generator.json").write_text('{"schema": 1, "kind": "text", "tone": 1}')
    with pytest.raises(UserError, match=r"generator.json: fields are missing"):
        load_writer(tmp_path)


def test_bad_settings() -> None:
    for fields, words in (
        ({"masked": "verbs"}, "masked is 'verbs'"),
        ({"share": 0.0}, "share of masks is 0.0"),
        ({"longest": 0}, "longest"),
    ):
        with pytest.raises(UserError, match=words):
            InfillWriter(**fields)  # type: ignore[arg-type]
    for writer in (TextWriter, LabelledWriter):
        with pytest.raises(UserError, match="PROMPT is empty"):
            writer(" ")
