"""Commands that succeed: predict, evaluate, label, import, and help for every one."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import distill_jax
from distill_jax.cli import main, training
from distill_jax.cli.training import split_gin_bindings
from distill_jax.interop.hf.checkpoint import write_hf
from distill_jax.labels.store import TeacherLabels
from distill_jax.tagger import Tagger
from distill_jax.vocab import train_sentencepiece
from tests.tiny import KINDS, LABELS, SENTENCES, T5_CONFIG, save_tiny, t5_params

ROOT = Path(__file__).resolve().parents[2]
NONEMPTY = [words for words in SENTENCES if words]
CONLL = "to O\nberlin B-city\n\non O\nmay B-date_time\n4 I-date_time\n\n"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model directory of each kind."""
    folder = tmp_path_factory.mktemp("models")
    return {kind: save_tiny(folder / kind, kind) for kind in KINDS}


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


COMMANDS = (
    (),
    ("demo",),
    ("train",),
    ("predict",),
    ("evaluate",),
    ("generate",),
    ("label",),
    ("import",),
)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command) or "itself")
def test_help(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*command, "--help"])
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith("usage: distill-jax")
    if not command:
        assert all(name in out for (name,) in COMMANDS[1:])


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out.strip() == distill_jax.__version__


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["fly"],
        ["predict"],
        ["predict", "--model", "m", "--input", "-", "--output", "-", "--batch_size", "0"],
        ["predict", "--model", "m", "--input", "-", "--output", "-", "--batch_size", "x"],
        ["predict", "--model", "m", "--input", "-", "--output", "-", "--gin.SEED=1"],
        ["import", "--from", "onnx", "--labels", "l", "a", "b"],
    ],
    ids=" ".join,
)
def test_bad_usage(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(command)
    assert stopped.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("distill-jax") and ": error: " in last


def test_gin_bindings_are_taken_out_of_the_command_line() -> None:
    arguments = ["train", "--gin.A='x y'", "--gin_file=f", "--gin.b.c=3"]
    assert split_gin_bindings(arguments) == (["train", "--gin_file=f"], ["A='x y'", "b.c=3"])


# ---- predict -----------------------------------------------------------------------------------

INPUTS = {
    "in.conll": "".join("".join(f"{word}\tO\n" for word in words) + "\n" for words in NONEMPTY),
    "in.jsonl": "".join(json.dumps({"tokens": words}) + "\n" for words in NONEMPTY),
    "text.jsonl": "".join(json.dumps({"text": " ".join(words)}) + "\n" for words in NONEMPTY),
    "in.txt": "".join(" ".join(words) + "\n" for words in NONEMPTY),
}


@pytest.mark.parametrize("kind", KINDS)
def test_predict_from_any_format(
    models: dict[str, Path], tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = [found.to_json() for found in Tagger.load(models[kind]).predict(NONEMPTY)]
    output = tmp_path / "deep" / "out.jsonl"
    for name, content in list(INPUTS.items())[kind == "t5" :: 2]:
        (tmp_path / name).write_text(content)
        arguments = ["predict", "--model", str(models[kind]), "--input", str(tmp_path / name)]
        assert main([*arguments, "--output", str(output)]) == 0
        found = lines(output.read_text())
        assert [record["words"] for record in found] == [list(words) for words in NONEMPTY]
        for record, wanted in zip(found, expected, strict=True):
            assert list(record) == ["words", "tags", "spans"]
            assert record["tags"] == wanted["tags"]
            text = " ".join(record["words"])
            for span, other in zip(record["spans"], wanted["spans"], strict=True):
                if name in ("text.jsonl", "in.txt"):
                    start, end = span.pop("start_char"), span.pop("end_char")
                    assert text[start:end] == span["text"]
                assert {**span, "score": 0} == {**other, "score": 0}
                assert span["score"] == pytest.approx(other["score"], rel=1e-3)
    assert capsys.readouterr().out == ""
    assert [path.name for path in output.parent.iterdir()] == ["out.jsonl"]


def test_a_record_keeps_its_name(models: dict[str, Path], tmp_path: Path) -> None:
    named: list[dict[str, Any]] = [{"id": "a-1", "text": "to berlin"}, {"text": "may"}]
    for place, records in (
        ("in.jsonl", [*named, {"id": 7, "tokens": ["may"]}, {"id": [7], "text": "x"}]),
        ("in.json", named),
    ):
        separated = [json.dumps(record) for record in records]
        text = f"[{', '.join(separated)}]" if place == "in.json" else "\n".join(separated)
        (tmp_path / place).write_text(text)
        output = tmp_path / "out.jsonl"
        command = ["predict", "--model", str(models["bilstm"]), "--input", str(tmp_path / place)]
        assert main([*command, "--output", str(output)]) == 0
        found = lines(output.read_text())
        assert [record.get("id") for record in found] == ["a-1", None, 7, None][: len(records)]
        assert next(iter(found[0])) == "id" and "id" not in found[1]


def test_predict_stdin_to_stdout_stays_aligned_with_lines(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "to berlin\n\nnach köln\n".encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    command = ["predict", "--model", str(models["t5"]), "--input", "-", "--output", "-"]
    assert main([*command, "--posteriors", "--normaliser", "trie"]) == 0
    out = capsys.readouterr().out
    assert "NaN" not in out and "Infinity" not in out
    found = lines(out)
    assert [record["words"] for record in found] == [["to", "berlin"], [], ["nach", "köln"]]
    for record in found:
        assert record["labels"] == list(LABELS.tags)
        words = len(record["words"])
        assert np.shape(record["posteriors"]) == ((words, 4) if words else (0,))
        assert all(sum(row) == pytest.approx(1) for row in record["posteriors"])
        assert len(record["log_likelihoods"]) == words
    assert found[0]["log_likelihoods"][0][1] is None  # I is illegal at the start


def test_predict_replaces_its_output_only_when_all_is_well(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distill_jax.cli.tagging.CHUNK", 1)
    output = tmp_path / "out.jsonl"
    output.write_text("old")
    (tmp_path / "in.conll").write_text(CONLL + "to X\n\n")
    command = ["predict", "--model", str(models["bilstm"]), "--output", str(output)]
    assert main([*command, "--input", str(tmp_path / "in.conll")]) == 2
    assert output.read_text() == "old"
    (tmp_path / "in.conll").write_text(CONLL)
    assert main([*command, "--input", str(tmp_path / "in.conll")]) == 0
    assert len(lines(output.read_text())) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.conll", "out.jsonl"]


@pytest.mark.parametrize("kind", KINDS)
def test_predict_the_best_tags_after_a_warm_up(
    models: dict[str, Path], tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.txt").write_text("to berlin\n\non may 4\n")
    command = ["predict", "--model", str(models[kind]), "--input", str(tmp_path / "in.txt")]
    assert main([*command, "--output", "-", "--top_k", "2", "--warmup"]) == 0
    shown = capsys.readouterr()
    line, empty = shown.err.splitlines()
    assert line.startswith("warm-up: 1 programs in ") and line.endswith(" s")
    assert empty == f"{tmp_path / 'in.txt'}: sentences without words: 1"
    found = lines(shown.out)
    expected = Tagger.load(models[kind]).predict(["to berlin", "", "on may 4"])
    for record, wanted in zip(found, expected, strict=True):
        assert list(record) == ["words", "tags", "spans", "top_k", "tail"]
        assert len(record["top_k"]) == len(record["tail"]) == len(wanted.words)
        for best, tail, row in zip(record["top_k"], record["tail"], wanted.posteriors, strict=True):
            for tag, posterior in best:
                assert posterior == pytest.approx(row[LABELS.index(tag)], abs=1e-4)
            assert sum(posterior for _, posterior in best) + tail == pytest.approx(1, abs=1e-4)
            assert best[0][1] == pytest.approx(max(row), abs=1e-4)


DECODERS = {
    "beam": ["--beam", "3"],
    "greedy": ["--decoder", "greedy"],
    "free": ["--decoder", "free"],
    "pruned": ["--decoder", "pruned", "--epsilon", "0.01", "--normaliser", "trie", "--posteriors"],
}


@pytest.mark.parametrize("name", DECODERS)
def test_predict_with_every_decoder(
    models: dict[str, Path], tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.txt").write_text("to berlin\non may 4 to rome\n")
    command = ["predict", "--model", str(models["t5"]), "--input", str(tmp_path / "in.txt")]
    assert main([*command, "--output", "-", *DECODERS[name]]) == 0
    for record in lines(capsys.readouterr().out):
        assert len(record["tags"]) == len(record["words"])
        scores = [span["score"] for span in record["spans"]]
        assert all((score is None) == (name in ("greedy", "free")) for score in scores)
        assert ("malformed" in record) == (name == "free")
        if name == "pruned":
            for row, mass in zip(record["posteriors"], record["unexplored"], strict=True):
                assert sum(row) + mass == pytest.approx(1, abs=1e-5)
                assert 0 <= mass <= 0.011


# ---- label -------------------------------------------------------------------------------------


def test_label_resumes_and_refuses_other_settings(
    models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool, store = tmp_path / "pool.txt", tmp_path / "labels"
    pool.write_text("to berlin\n\non may 4\nto berlin\nto rome\n")

    def label(*more: str, kind: str = "bilstm") -> int:
        model = str(models[kind])
        command = ["label", "--model", model, "--input", str(pool), "--output", str(store)]
        return main([*command, "--shard_size", "2", *more])

    assert label() == 0
    assert "3 sentences labelled" in (said := capsys.readouterr().err)
    assert "1 without words" in said and "1 that occur before" in said
    labels = TeacherLabels(store)
    assert [found.words for found in labels] == [
        ("to", "berlin"),
        ("on", "may", "4"),
        ("to", "rome"),
    ]
    tagger = Tagger.load(models["bilstm"])
    for found in labels:
        [wanted] = tagger.predict_ids([found.words])
        np.testing.assert_array_equal(found.tag_ids, wanted.tag_ids)
        np.testing.assert_allclose(
            np.exp(found.log_posteriors), wanted.posteriors, rtol=0.02, atol=1e-3
        )
    # As if it had been interrupted in its second shard.
    first, second = sorted(store.glob("*.array_record"))
    written = first.stat().st_mtime_ns
    content = second.read_bytes()
    (store / "manifest.json").unlink()
    second.unlink()
    second.with_suffix(".json").unlink()
    assert label() == 0
    assert first.stat().st_mtime_ns == written
    assert second.read_bytes() == content

    capsys.readouterr()
    before = {path.name: path.read_bytes() for path in store.iterdir()}
    for again in (lambda: label("--shard_size", "1"), lambda: label(kind="t5")):
        assert again() == 2
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith("distill-jax: error: ") and "other settings" in line
    assert {path.name: path.read_bytes() for path in store.iterdir()} == before


def test_label_refuses_to_go_on_with_another_dtype(
    models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool, store = tmp_path / "pool.txt", tmp_path / "labels"
    pool.write_text("to berlin\n")
    command = ["label", "--model", str(models["t5"]), "--input", str(pool), "--output", str(store)]
    assert main([*command, "--dtype", "bfloat16"]) == 0
    assert TeacherLabels(store).header["decoder"]["dtype"] == "bfloat16"
    assert main([*command, "--dtype", "bfloat16"]) == 0
    capsys.readouterr()
    for other in ([], ["--dtype", "float32"]):
        assert main([*command, *other]) == 2
        assert "other settings (decoder)" in capsys.readouterr().err


def test_label_by_two_processes_and_verify(
    models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = tmp_path / "pool.txt"
    pool.write_text("".join(f"to rome on may {day}\n" for day in range(1, 8)))

    def label(store: Path, *more: str) -> str:
        command = ["label", "--model", str(models["bilstm"]), "--input", str(pool)]
        assert main([*command, "--output", str(store), "--shard_size", "2", *more]) == 0
        return capsys.readouterr().err

    one, two = tmp_path / "one", tmp_path / "two"
    label(one, "--top_k", "2")
    share = ("--top_k", "2", "--process_count", "2", "--process_index")
    assert "other processes are not done" in label(two, *share, "1")
    assert main(["label", "--verify", str(two)]) == 2
    assert "manifest.json" in capsys.readouterr().err
    assert "7 sentences labelled" in label(two, *share, "0")
    for path in one.iterdir():
        assert (two / path.name).read_bytes() == path.read_bytes()
    assert main(["label", "--verify", str(two)]) == 0
    assert "whole; 7 sentences" in capsys.readouterr().out
    shard = sorted(two.glob("*.array_record"))[1]
    changed = bytearray(shard.read_bytes())
    changed[len(changed) // 2] ^= 1
    shard.write_bytes(changed)
    assert main(["label", "--verify", str(two)]) == 2
    assert shard.name in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "x"], "needs --model DIR and --output DIR"),
        (["--model", "m", "--output", "x"], "either --input FILE"),
        (["--verify", "x", "--output", "y"], "give it no other option"),
    ],
)
def test_label_without_what_it_needs(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["label", *arguments]) == 2
    assert message in capsys.readouterr().err


# ---- import ------------------------------------------------------------------------------------


def test_import_and_predict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = T5_CONFIG.replace(vocab_size=256)
    write_hf(tmp_path / "src", config, t5_params(config))
    texts = ["to berlin on may 4", "x y z"] * 5
    train_sentencepiece(
        texts, 60, tmp_path / "src" / "spiece.model", required=("O", "I", "city", "date time")
    )
    assert_imports(tmp_path, capsys)


def test_a_directory_made_by_transformers_imports_and_predicts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=256,
        d_model=8,
        d_kv=4,
        d_ff=8,
        num_heads=2,
        num_layers=1,
        num_decoder_layers=1,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        decoder_start_token_id=0,
    )
    transformers.T5ForConditionalGeneration(config).save_pretrained(tmp_path / "src")
    train_sentencepiece(
        ["to berlin on may 4", "x y z"] * 5,
        60,
        tmp_path / "src" / "spiece.model",
        required=("O", "I", "city", "date time"),
    )
    assert_imports(tmp_path, capsys)


def assert_imports(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`folder/src` imports with two labels, and what comes of it predicts."""
    (folder / "labels.txt").write_text("city\ndate_time\n")
    src, dst = str(folder / "src"), str(folder / "model")
    command = ["import", "--from", "hf", "--labels", str(folder / "labels.txt"), src, dst]
    assert main(command) == 0
    (folder / "in.txt").write_text("to berlin\non may 4\n")
    command = ["predict", "--model", dst, "--input", str(folder / "in.txt"), "--output", "-"]
    capsys.readouterr()
    assert main([*command, "--posteriors"]) == 0
    found = lines(capsys.readouterr().out)
    assert [record["words"] for record in found] == [["to", "berlin"], ["on", "may", "4"]]
    assert found[0]["labels"] == ["O", "I", "city", "date_time"]
    assert main(command) == 0  # a second time over the first
    assert main(["import", "--from", "hf", "--labels", str(folder / "labels.txt"), src, dst]) == 0


# ---- as a program ------------------------------------------------------------------------------


def run(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "distill_jax", *arguments],
        cwd=ROOT,
        input=text,
        capture_output=True,
        text=True,
    )


def test_the_program_predicts(models: dict[str, Path]) -> None:
    model = str(models["bilstm"])
    done = run("predict", "--model", model, "--input", "-", "--output", "-", text="to berlin\n")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    [record] = lines(done.stdout)
    assert record["words"] == ["to", "berlin"]


def test_the_program_fails_in_one_line() -> None:
    done = run("train", "--gin_file=gin/runs/distil.gin", "--gin.STEPS=3")
    assert done.returncode == 2
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith("distill-jax: error: --gin.STEPS")


def test_an_option_that_is_none_is_told_from_what_was_meant(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "data", "--out=x", "--unlabeled", "pool.txt"])
    assert capsys.readouterr().err == (
        "distill-jax fit: error: unrecognized arguments: --unlabeled pool.txt (did you mean "
        "--unlabelled?); see distill-jax fit --help\n"
    )


def test_a_study_is_no_run_of_train() -> None:
    done = run("train", "--gin_file=gin/runs/fewshot_study.gin")
    assert done.returncode == 2
    assert "fewshot_study.gin: line " in done.stderr
    assert "this is a study; run it with distill-jax study" in done.stderr


def test_a_reader_that_goes_away_is_no_error_of_ours(models: dict[str, Path]) -> None:
    command = [sys.executable, "-m", "distill_jax", "predict", "--model", str(models["bilstm"])]
    process = subprocess.Popen(
        [*command, "--input", "-", "--output", "-"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, errors = process.communicate("to berlin\n" * 3)
    assert errors == ""
    assert process.returncode == 141


@pytest.mark.parametrize(
    ("error", "code"),
    [("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\nBuffers:", 2), ("INTERNAL: x", None)],
)
def test_a_device_that_runs_out_of_memory_is_said_in_one_line(
    error: str,
    code: int | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(*_: object) -> None:
        raise jax.errors.JaxRuntimeError(error)

    monkeypatch.setattr(training, "_train", run)
    command = ["train", "--gin_file=gin/runs/finetune.gin"]
    if code is None:  # not the user's mistake
        with pytest.raises(jax.errors.JaxRuntimeError):
            main(command)
        return
    assert main(command) == code
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("distill-jax: error: Out of memory allocating 9 bytes; take a smaller")
