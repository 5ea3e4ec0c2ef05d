"""From gold sentences to a labelled pool: a generator is tuned, writes, and what it wrote is labelled."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill_jax.cli import main
from distill_jax.data import demo as demo_data
from distill_jax.data import locations
from distill_jax.data.readers import read_sentences, write_conll
from distill_jax.errors import UserError
from distill_jax.generate.pool import GeneratedPool
from distill_jax.generate.settings import SamplingSettings
from distill_jax.generate.sources import Batching, Generator, Written
from distill_jax.generate.text import TextWriter
from distill_jax.interop.hf.checkpoint import write_hf
from distill_jax.labels.store import TeacherLabels
from distill_jax.planning.plan import run_to_plan
from distill_jax.vocab import load_vocabulary
from tests.compiled_once import compiled_once
from tests.tiny import T5_CONFIG, save_tiny, t5_params, write_t5_start

TASK = "tiny_generation"
KEEP = ("unfinished", "malformed")
SHORT = {"TRAIN_STEPS": 1, "EVAL_PERIOD": 1, "BATCH_SIZE": 8, "WARMUP_STEPS": 1}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A task, and a T5 to start from."""
    work = tmp_path_factory.mktemp("generation")
    with compiled_once(str(work / "xla")):
        for split, size in (("train", 24), ("valid", 12)):
            write_conll(
                work / "data" / TASK / f"{split}.conll", list(demo_data.generate(split, size))
            )
        demo_data.LABELS.save(work / "data" / TASK / "labels.txt")
        write_t5_start(work / "start")
        yield work
    locations.set_data_dir(None)


def gold(work: Path) -> str:
    return str(work / "data" / TASK / "train.conll")


def arguments(work: Path, *more: str, **options: Any) -> list[str]:
    given = {"gold": gold(work), "number": 12, "shard_size": 5, "batch_size": 8, **options}
    pairs = [(f"--{name}", str(value)) for name, value in given.items() if value is not None]
    return ["generate", *(word for pair in pairs for word in pair), *more]


@pytest.fixture(
    scope="module",
    params=[
        "text",
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("infill", "labelled")),
    ],
)
def generator(work: Path, request: pytest.FixtureRequest) -> Path:
    """A T5 that a recipe has tuned, for a step."""
    directory = work / f"run_{request.param}"
    bindings = {
        **SHORT,
        "MODEL_DIR": str(directory),
        "MIXTURE_OR_TASK_NAME": f"{TASK}_gold8_dev4_seed0",
        "INITIAL_CHECKPOINT_PATH": str(work / "start"),
        "DATA_DIR": str(work / "data"),
        "PREPARED_DATA_DIR": str(work / "prepared"),
    }
    gin = [f"--gin.{name}={value!r}" for name, value in bindings.items()]
    assert main(["train", f"--gin_file=gin/runs/generator_{request.param}.gin", *gin]) == 0
    return directory / "model"


@pytest.mark.slow
def test_a_tuned_generator_writes_a_pool_that_is_labelled(
    work: Path, generator: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = work / f"pool_{generator.parent.name}"
    options = {
        "model": generator,
        "max_tokens": 24,
        "held_out": work / "data" / TASK / "valid.conll",
    }
    command = arguments(work, "--length", "0", "0", "--keep", *KEEP, output=pool, **options)
    assert main(command) == 0
    assert "accepted; rejected:" in capsys.readouterr().err
    found = GeneratedPool(pool)
    assert sum(found.counts.values()) == 12 and len(found) > 5
    assert found.header["from"] == generator.parent.name.removeprefix("run_")
    assert len(found.header["generator_sha256"]) == 64
    [(_, held_out)] = found.figures["held_out"].items()
    assert held_out["sentences"] == 0
    assert main(["generate", "--verify", str(pool)]) == 0
    teacher = save_tiny(work / f"teacher_{generator.parent.name}", "bilstm")
    labels = work / f"labels_{generator.parent.name}"
    assert (
        main(["label", "--model", str(teacher), "--input", str(pool), "--output", str(labels)]) == 0
    )
    assert [one.words for one in TeacherLabels(labels)] == [s.words for _, s in found.located()]
    (pool / "manifest.json").unlink()
    assert (
        main(["label", "--model", str(teacher), "--input", str(pool), "--output", str(labels)]) == 2
    )
    assert "to finish it" in capsys.readouterr().err


def test_a_t5_as_pretrained_infills(work: Path) -> None:
    """Each sample has its frame from a gold sentence."""
    command = arguments(work, "--from", "infill", "--masked", "mentions", "--mask_share", "1")
    more = ["--length", "0", "0", "--keep", "unfinished", "--max_tokens", "12", "--number", "6"]
    assert (
        main([*command, *more, "--model", str(work / "start"), "--output", str(work / "infill")])
        == 0
    )
    sentences = list(read_sentences(gold(work)))
    for record in records(work / "infill"):
        frame = sentences[record["number"] % len(sentences)]
        assert frame.tags is not None
        kept = [w for w, tag in zip(frame.words, frame.tags, strict=True) if tag == "O"]
        left = iter(record["tokens"])
        assert all(word in left for word in kept)


def records(pool: Path) -> list[dict[str, Any]]:
    files = [*pool.glob("part-*.jsonl"), *pool.glob("rejected-*.jsonl")]
    found = [json.loads(line) for file in files for line in file.open(encoding="utf-8")]
    return sorted(found, key=lambda record: record["number"])


def test_samples_do_not_depend_on_what_is_drawn_beside(work: Path) -> None:
    config = T5_CONFIG.replace(vocab_size=load_vocabulary(work / "start").size)
    generator = Generator(config, t5_params(config), load_vocabulary(work / "start"), TextWriter())
    settings = SamplingSettings(top_k=20, max_tokens=10)
    source = Written(generator, [], settings, Batching(seed=3, rows=8))
    whole = source.draw(0, 20)
    assert [one.words for one in source.draw(13, 20)] == [one.words for one in whole[13:]]
    other = Written(generator, [], settings, Batching(seed=4, rows=8))
    assert [one.words for one in other.draw(0, 20)] != [one.words for one in whole]
    assert all(one.tokens for one in whole)
    half = Generator(config.replace(dtype="bfloat16"), *generator[1:])
    assert all(one.words or one.ended for one in Written(half, [], settings).draw(0, 4))


def test_swapped_mentions_and_a_file(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(work, "--from", "swap", output=work / "swap", number=40)) == 0
    found = GeneratedPool(work / "swap")
    sentences = [sentence for _, sentence in found.located()]
    assert len(sentences) > 10 and all(sentence.tags for sentence in sentences)
    labels = work / "data" / TASK / "labels.txt"
    take = ["label", "--from", "tags", "--labels", str(labels), "--input"]
    assert main([*take, str(work / "swap"), gold(work), "--output", str(work / "own")]) == 0
    store = TeacherLabels(work / "own")
    for sentence, label in zip(sentences, store, strict=False):
        assert sentence.words == label.words and sentence.tags is not None
        assert store.labels.decode_iob2(label.tag_ids) == list(sentence.tags)
        assert (np.exp(label.log_posteriors).argmax(axis=1) == label.tag_ids).all()
        assert (np.isfinite(label.log_posteriors).sum(axis=1) == 1).all()
    assert len(sentences) < len(store) <= len(sentences) + 24
    (work / "lm.txt").write_text("book a table for two\nBOOK a table for two\nplay jazz\n")
    file = ["--from", "lm", "--sentences", str(work / "lm.txt"), "--length", "1", "9"]
    assert main(arguments(work, *file, output=work / "lm", number=None)) == 0
    assert GeneratedPool(work / "lm").counts["duplicate"] == 1
    assert [s.words for _, s in GeneratedPool(work / "lm").located()][1] == ("play", "jazz")
    assert "distinct_2" in capsys.readouterr().err
    # What is said of the format is said of this file: gold sentences have their columns all the same.
    assert (
        main(arguments(work, *file[:4], "--format", "text", output=work / "as", number=None)) == 0
    )
    about = json.loads((work / "as" / "generated.json").read_text())
    there = json.loads((work / "lm" / "generated.json").read_text())
    assert about["gold_sha256"] == there["gold_sha256"]
    assert about["filters"]["length"][1] > 2
    assert main(arguments(work, "--from", "lm", "--sentences", "-", output=work / "pipe")) == 2
    assert "give a file, not a pipe" in capsys.readouterr().err
    assert main([*take, str(work / "lm"), "--output", str(work / "none")]) == 2
    assert "part-00000-of-00001.jsonl:1: has no tags; let a teacher" in capsys.readouterr().err
    assert main([*take, "-", "--output", str(work / "none")]) == 2
    assert "give files, not a pipe" in capsys.readouterr().err


BAD = {
    "no gold": (["--gold", "nowhere.conll"], "nowhere.conll: cannot be read"),
    "temperature": (["--temperature", "0"], "temperature is 0.0"),
    "top_p": (["--top_p", "1.2"], "top_p is 1.2"),
    "both": (["--from", "swap"], "or --from swap"),
    "no file": (["--from", "lm"], "--from lm and --sentences FILE go together"),
    "seed": (["--seed", "-1"], "the seed is -1"),
    "empty": (["--gold", os.devnull], "holds no sentences"),
    "band": (["--length", "9", "2"], "no length is between 9 and 2"),
    "no writer": ([], "has no generator.json"),
    "split": (["--from", "infill", "--model_parallel", "99"], "there are 8 here"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(work: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    more, words = BAD[name]
    output = work / f"bad_{name}"
    assert main([*arguments(work, model=work / "start", output=output), *more]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert words in line
    assert not (output / "generated.json").exists()


def test_held_out_sentences_are_refused(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    test = str(work / "data" / TASK / "valid.conll")
    command = arguments(work, "--held_out", test, output=work / "peeks")
    file = ["--from", "lm", "--sentences", test]
    assert main([*command, *file]) == 2
    assert "valid.conll are among them, which is held out" in capsys.readouterr().err
    assert main([*command, "--from", "swap", "--gold", test]) == 2
    assert "the gold sentences: " in capsys.readouterr().err
    assert not (work / "peeks").exists()


def test_mentions_need_tags(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "plain.txt").write_text("play some jazz\n")
    command = arguments(work, "--from", "infill", "--masked", "mentions", model=work / "start")
    assert main([*command, "--gold", str(work / "plain.txt"), "--output", str(work / "plain")]) == 2
    assert "no mentions to mask" in capsys.readouterr().err


def test_a_vocabulary_that_does_not_fit(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = T5_CONFIG.replace(vocab_size=64)
    write_hf(work / "small", config, t5_params(config))
    load_vocabulary(work / "start").save(work / "small")
    command = arguments(work, "--from", "infill", model=work / "small", output=work / "misfit")
    assert main(command) == 2
    assert "only 64 embedding rows" in capsys.readouterr().err


def test_a_generator_is_not_planned() -> None:
    with pytest.raises(UserError, match=r"plan finetune.gin"):
        run_to_plan(["gin/runs/generator_text.gin"], ["INITIAL_CHECKPOINT_PATH=None"])
