"""Records what every recipe computes, so that a change of structure can be shown to change no number.

    python tests/tools/record_numbers.py record BEFORE.json     # with the tree before the change
    python tests/tools/record_numbers.py record AFTER.json      # with the tree after it
    python tests/tools/record_numbers.py compare BEFORE.json AFTER.json

It uses the command line alone, which outlasts any move of modules: tiny models of every recipe of
`gin/runs/` are trained for 20 steps on generated data, and the losses and gradient norms of all steps, the
dev scores, and the hashes of models, label stores and predictions are kept. `--demo DIR` records a finished
`distill-jax demo` as well. Numbers are equal bit for bit on one machine with one set of versions.
"""

import argparse
import csv
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
STEPS = 20
TASK = "recorded"
FEW_SHOT = f"{TASK}_gold16_dev8_seed0"
SHORT = {
    "TRAIN_STEPS": STEPS,
    "EVAL_PERIOD": 10,
    "BATCH_SIZE": 8,
    "WARMUP_STEPS": 5,
    "Schedule.log_period": 1,
}
LENGTHS = {"TASK_FEATURE_LENGTHS": {"inputs": 96, "targets": 96}}
T5 = {
    "T5Config.d_model": 16,
    "T5Config.d_kv": 8,
    "T5Config.d_ff": 16,
    "T5Config.num_heads": 2,
    "T5Config.num_encoder_layers": 2,
    "T5Config.num_decoder_layers": 2,
}
BILSTM = {
    "BiLSTMConfig.word_dim": 8,
    "BiLSTMConfig.char_dim": 4,
    "BiLSTMConfig.char_hidden": 4,
    "BiLSTMConfig.hidden": 8,
}
ENCODER = {
    "EncoderTaggerConfig.d_model": 8,
    "EncoderTaggerConfig.d_kv": 4,
    "EncoderTaggerConfig.d_ff": 8,
    "EncoderTaggerConfig.num_heads": 2,
    "EncoderTaggerConfig.num_layers": 1,
}
BERT = {
    "BertConfig.d_model": 8,
    "BertConfig.d_ff": 8,
    "BertConfig.num_heads": 2,
    "BertConfig.num_layers": 1,
}
CLOCK = ("seconds", "per_second", "input_wait", "memory", "mfu")
"""Parts of names of figures that the clock or the machine decides."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    record_parser = commands.add_parser("record")
    record_parser.add_argument("output", type=Path)
    record_parser.add_argument("--demo", type=Path, help="a finished demo's folder")
    compare_parser = commands.add_parser("compare")
    compare_parser.add_argument("before", type=Path)
    compare_parser.add_argument("after", type=Path)
    options = parser.parse_args()
    if options.command == "compare":
        before, after = (json.loads(path.read_text()) for path in (options.before, options.after))
        different = differences(before, after)
        print("\n".join(different) or f"equal: {count(before)} numbers and hashes")
        sys.exit(bool(different))
    found: dict[str, Any] = {}
    if options.demo:
        found["demo"] = of_demo(options.demo)
    with tempfile.TemporaryDirectory() as folder:
        record(Path(folder), found, options.output)
    print(f"{options.output}: {count(found)} numbers and hashes")


def record(work: Path, found: dict[str, Any], output: Path) -> None:
    """Trains everything below a folder, and writes what comes out by recipe, after each of them."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
    flags = "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}"
    sys.path.insert(0, str(REPOSITORY))
    os.chdir(REPOSITORY)
    _write_data(work / "data" / TASK)

    def keep(name: str, result: Any) -> None:
        found[name] = result
        output.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")

    def train(name: str, gin_files: str, task: Any = FEW_SHOT, **values: Any) -> None:
        settings = {
            **SHORT,
            "MODEL_DIR": str(work / name),
            "MIXTURE_OR_TASK_NAME": task,
            "DATA_DIR": str(work / "data"),
            "PREPARED_DATA_DIR": str(work / "prepared"),
            **values,
        }
        _run(
            "train", *(f"--gin_file=gin/runs/{file}.gin" for file in gin_files.split()), **settings
        )
        keep(name, of_run(work / name))

    def label(name: str, teacher: str) -> str:
        command = ["label", "--model", str(work / teacher / "model"), "--task", FEW_SHOT]
        places = ["--data_dir", str(work / "data"), "--output", str(work / name)]
        _run(*command, "--split", "silver", "gold", *places)
        keep(name, of_folder(work / name))
        return str(work / name)

    # Recipes that start from random weights, and what the others start from.
    scratch = {**T5, **LENGTHS, "VOCABULARY_SIZE": 200}
    train("teacher0", "from_scratch", TASK, **scratch)
    train("teacher1", "from_scratch", TASK, SEED=1, **scratch)
    start = str(work / "teacher0" / "model")
    train(
        "pretrain",
        "pretrain",
        {TASK: 2.0, f"{TASK}_text": 1.0},
        EMBEDDING_TEXT={f"{TASK}_text": 1.0},
        VOCABULARY_TASKS={TASK: 1.0},
        **{**T5, **LENGTHS, "NewVocabulary.size": 200},
    )
    train("finetune", "finetune", TASK, INITIAL_CHECKPOINT_PATH=start, MENTION_COPIES=2, **LENGTHS)
    train(
        "finetune_scanned",
        "finetune",
        TASK,
        INITIAL_CHECKPOINT_PATH=start,
        **{**LENGTHS, "SCAN_LAYERS": True, "REMAT": "full", "LOGIT_CHUNKS": 2, "MESH_FSDP": 2},
        SINGLE_TOKEN_TAGS=True,
    )
    labels = {"TEACHER_LABELS": label("labels0", "teacher0")}
    both = {"TEACHER_LABELS": (labels["TEACHER_LABELS"], label("labels1", "teacher1"))}
    teacher = {"TEACHER": start}
    # Students.
    train("gold", "distil_gold", **BILSTM)
    train("pseudo", "distil_pseudo", **BILSTM, **labels)
    train("kd", "distil", **BILSTM, **labels, MESH_FSDP=2)
    train("kd_accumulated", "distil", **BILSTM, **labels, BATCH_SIZE=16, ACCUMULATE=2)
    train("weighted", "distil_weighted", **BILSTM, **labels, TEMPERATURE=2.0)
    train("teachers", "distil_teachers", **BILSTM, **both)
    train("svd", "distil_svd", **BILSTM, **labels, TEACHER_EMBEDDING=start)
    train("text", "distil", **BILSTM, **labels, EMBEDDING_TEXT=f"{TASK}_text")
    train("online", "distil_online", **BILSTM, **teacher)
    train("encoder", "distil_encoder", **labels, INITIAL_CHECKPOINT_PATH=start, ENCODER_LAYERS=(0,))
    train("encoder_random", "distil_encoder", **ENCODER, VOCABULARY=start, TEACHER_LABELS=None)
    train(
        "encoder_gpu", "distil_encoder gpu", **labels, INITIAL_CHECKPOINT_PATH=start, BATCH_SIZE=8
    )
    train("bert_random", "bert_gold", **BERT, VOCABULARY=start)
    train("bert_svd", "bert_distil", **BERT, **labels, TEACHER_EMBEDDING=start)
    student = {**T5, **LENGTHS, "VOCABULARY": start}
    train("t5", "distil_t5", **student, **labels)
    train(
        "t5_layers",
        "distil_t5_layers",
        **{**LENGTHS, **labels, "INITIAL_CHECKPOINT_PATH": start},
        ENCODER_LAYERS=(1,),
        DECODER_LAYERS=(0,),
    )
    train("t5_online", "distil_t5_online", **student, **teacher)
    train("t5_tokens", "distil_t5_tokens", **student, **teacher, **labels)
    for name in ("teacher0", "kd", "encoder", "t5"):
        keep(name, {**found[name], "predictions": _predictions(work, name)})
    keep("study", _study(work, start))


def _study(work: Path, start: str) -> dict[str, Any]:
    folder = work / "study"
    settings = {
        "STUDY_DIR": str(folder),
        "INITIAL_CHECKPOINT_PATH": start,
        "DATA_DIR": str(work / "data"),
        "DATASETS": (TASK,),
        "SIZES": ("16/8",),
        "SILVER": (0, 16),
        "SEEDS": (0,),
        "TEACHER_STEPS": STEPS,
        "TEACHER_BATCH_SIZE": 8,
        "TEACHER_MENTION_COPIES": 2,
        "TEACHER_EVAL_PERIOD": 10,
        "STUDENT_STEPS": STEPS,
        "STUDENT_EVAL_PERIOD": 10,
        "ENCODER_STUDENT_STEPS": STEPS,
        "ENCODER_STUDENT_EVAL_PERIOD": 10,
        **BILSTM,
        **LENGTHS,
    }
    # In a process of its own, as every study is.
    bindings = [f"--gin.{name}={value!r}" for name, value in settings.items()]
    command = ["study", "--gin_file=gin/runs/fewshot_study_encoder.gin", *bindings]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    subprocess.run([sys.executable, "-m", "distill_jax", *command], check=True, env=environment)
    with (folder / "results.csv").open() as file:
        rows = [{k: v for k, v in row.items() if not _of_clock(k)} for row in csv.DictReader(file)]
    models = sorted(folder.glob("cells/*/**/model.safetensors"))
    hashes = {str(path.parent.relative_to(folder)): _sha256(path) for path in models}
    stores = {
        str(path.relative_to(folder)): of_folder(path) for path in folder.glob("cells/*/labels")
    }
    return {"rows": rows, "models": hashes, "labels": stores}


def _write_data(folder: Path) -> None:
    from distill_jax.data import demo

    folder.mkdir(parents=True)
    for split, size in (("train", 64), ("valid", 16), ("test", 16)):
        sentences = [s for s in demo.generate(split, 8 * size) if 4 <= len(s.words) <= 12][:size]
        lines = [
            "".join(f"{word}\t{tag}\n" for word, tag in zip(one.words, one.tags, strict=True))
            for one in sentences
        ]
        (folder / f"{split}.conll").write_text("\n".join(lines), "utf-8")
    demo.LABELS.save(folder / "labels.txt")


def _predictions(work: Path, name: str) -> str:
    text, output = work / "text.txt", work / f"{name}.jsonl"
    lines = (work / "data" / TASK / "test.conll").read_text("utf-8").split("\n\n")
    text.write_text(
        "".join(
            " ".join(row.split("\t")[0] for row in one.split("\n") if row) + "\n" for one in lines
        )
    )
    places = ["--input", str(text), "--output", str(output)]
    _run("predict", "--model", str(work / name / "model"), *places, "--posteriors")
    return _sha256(output)


def _run(*command: str, **settings: Any) -> None:
    from distill_jax.cli import main

    bindings = [f"--gin.{name}={value!r}" for name, value in settings.items()]
    print(f"== {' '.join(command)}", file=sys.stderr, flush=True)
    if code := main([*command, *bindings]):
        sys.exit(f"{' '.join(command)} ended with {code}")


def of_run(directory: Path) -> dict[str, Any]:
    """The steps of a run and the model it left."""
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    steps = [{k: v for k, v in line.items() if not _of_clock(k)} for line in lines]
    return {"steps": steps, "model": of_folder(directory / "model")}


def of_folder(directory: Path) -> dict[str, str]:
    """Hashes of a folder's files; of JSON without what the clock decides and of hashes of such."""
    return {
        path.name: _sha256(path)
        for path in sorted(directory.iterdir())
        if path.is_file() and path.suffix not in (".md", ".json") and not path.name.startswith(".")
    } | {"labels": _text_hash(directory)}


def _text_hash(directory: Path) -> str:
    fields = {"config.json": None, "tagger.json": ("metrics", "training", "name", "role")}
    kept = {}
    for name, left_out in fields.items():
        if (directory / name).exists():
            content = json.loads((directory / name).read_text("utf-8"))
            kept[name] = {k: v for k, v in content.items() if k not in (left_out or ())}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def of_demo(directory: Path) -> dict[str, Any]:
    """The figures, models and label store of `distill-jax demo`."""
    summary = json.loads((directory / "summary.json").read_text())
    models = [{k: v for k, v in m.items() if not _of_clock(k)} for m in summary["models"]]
    folders = {path.parent.name: of_folder(path) for path in sorted(directory.glob("*/model"))}
    return {"summary": models, "models": folders, "labels": of_folder(directory / "labels")}


def differences(before: Any, after: Any, path: str = "") -> list[str]:
    """A line for every place in which two recordings differ."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        names = list(dict.fromkeys([*before, *after]))
        pairs = [(name, before.get(name), after.get(name)) for name in names]
    elif (
        isinstance(before, Sequence)
        and isinstance(after, Sequence)
        and not isinstance(before, str)
        and len(before) == len(after)
    ):
        pairs = [(str(i), *pair) for i, pair in enumerate(zip(before, after, strict=True))]
    else:
        return [] if before == after else [f"{path}: {before!r} before, {after!r} after"]
    return [line for name, one, two in pairs for line in differences(one, two, f"{path}/{name}")]


def count(found: Any) -> int:
    """How many values a recording holds."""
    if isinstance(found, Mapping):
        return sum(map(count, found.values()))
    return sum(map(count, found)) if isinstance(found, list) else 1


def _of_clock(name: str) -> bool:
    return any(part in name for part in CLOCK)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
