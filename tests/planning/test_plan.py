"""What `compile` plans is what `train` runs: the same program, for the same shapes, of every Gin file."""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from distill_jax.data import locations
from distill_jax.data.readers import write_conll
from distill_jax.errors import UserError
from distill_jax.generate.writers import WRITERS
from distill_jax.inference import SentPredictor
from distill_jax.interop.hf.checkpoint import write_hf
from distill_jax.jobs.launch import configured
from distill_jax.kinds.base import Model
from distill_jax.labels.store import write_store
from distill_jax.model_dir.directory import save_model
from distill_jax.planning.plan import plan_run, run_to_plan
from distill_jax.tagger import Tagger
from distill_jax.tagging import LabelSet, Sentence
from distill_jax.train.timed_step import TimedStep
from distill_jax.vocab import (
    Vocabulary,
    WordVocabulary,
    load_vocabulary,
    train_sentencepiece,
)
from tests.compiled_once import compiled_once
from tests.tiny import BILSTM_CONFIG, T5_CONFIG, bert_params, bilstm_params, t5_params
from tests.tiny_bert import BERT, write_encoder, write_wordpieces

TASK = "planned"
LENGTH = 8  # words of every sentence, each of one token
LABELS = LabelSet(("one", "two", "three"), ("la", "lb", "lc"))
WORDS = [first + second for first in "bcdfgh" for second in "aeio"]
SENTENCES = [
    Sentence(tuple(WORDS[start : start + LENGTH]), ("B-one", "B-two", "B-three", *("O",) * 5))
    for start in range(0, len(WORDS), LENGTH)
]
CHECKPOINT = T5_CONFIG.replace(num_encoder_layers=2, num_decoder_layers=2)
SIZES = {name: getattr(CHECKPOINT, name) for name in ("d_model", "d_kv", "d_ff", "num_heads")}
LAYERS = {"num_encoder_layers": 2, "num_decoder_layers": 2}
TINY = {
    **{f"T5Config.{name}": value for name, value in {**SIZES, **LAYERS}.items()},
    **{f"EncoderTaggerConfig.{name}": value for name, value in SIZES.items()},
    "EncoderTaggerConfig.num_layers": 1,
    **{f"BiLSTMConfig.{name}": 4 for name in ("word_dim", "char_dim", "char_hidden", "hidden")},
}
TEACHER = {
    f"teacher/T5Config.{field.name}": getattr(CHECKPOINT, field.name)
    for field in dataclasses.fields(CHECKPOINT)
    if field.name != "vocab_size"
}
LONG = {"TASK_FEATURE_LENGTHS": {"inputs": 24, "targets": 24}}


class Folder:
    """A task whose shapes are known, a T5 with its vocabulary, and a teacher's labels."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for split in ("train", "valid"):
            write_conll(path / "data" / TASK / f"{split}.conll", SENTENCES)
        LABELS.save(path / "data" / TASK / "labels.txt")
        pieces = [*LABELS.tag_texts, *WORDS]
        self.vocabulary: Vocabulary = train_sentencepiece(
            [" ".join(pieces)] * 8, 64, path / "spiece.model", required=pieces
        )
        assert all(len(self.vocabulary.encode(text)) == 1 for text in pieces)
        config = CHECKPOINT.replace(vocab_size=self.vocabulary.size)
        params = t5_params(config)
        write_hf(path / "start", config, params)
        self.vocabulary.save(path / "start")
        write_encoder(path / "bert")
        write_wordpieces(path / "bert", WORDS)
        save_model(path / "teacher", Model(config, params, self.vocabulary, LABELS))
        bert = BERT.replace(num_tags=LABELS.num_tags)
        pieces = load_vocabulary(path / "bert")
        save_model(path / "bert-teacher", Model(bert, bert_params(bert), pieces, LABELS))
        words = WordVocabulary.build([WORDS])
        bilstm = dataclasses.replace(
            BILSTM_CONFIG,
            num_words=words.num_words,
            num_chars=words.num_chars,
            num_tags=LABELS.num_tags,
        )
        save_model(path / "bilstm-teacher", Model(bilstm, bilstm_params(bilstm), words, LABELS))
        (path / "glove.txt").write_text(f"{WORDS[0]} 1 2 3 4\nelsewhere 1 2 3 4\n")
        zeros = np.zeros((LENGTH, LABELS.num_tags), np.float32)
        write_store(
            path / "labels",
            SENTENCES,
            LABELS,
            lambda chunk: [(np.zeros(LENGTH, np.int32), zeros) for _ in chunk],
            settings={},
        )

    def bindings(self, values: dict[str, Any]) -> list[str]:
        return [f"{name}={value!r}" for name, value in values.items()]

    @property
    def run(self) -> dict[str, Any]:
        return {
            "MODEL_DIR": str(self.path / "run"),
            "MIXTURE_OR_TASK_NAME": TASK,
            "DATA_DIR": str(self.path / "data"),
            "PREPARED_DATA_DIR": str(self.path / "prepared"),
        }

    @property
    def shapes(self) -> dict[str, int]:
        characters = len(set("".join(WORDS)))
        sizes = {
            "words": LENGTH,
            "labels": len(LABELS.names),
            "tag_tokens": 1,
            "input_tokens": 2 + 2 * LENGTH,
            "num_words": len(WORDS) + 2,
            "num_chars": characters + 2,
            "vocab_size": self.vocabulary.size,
        }
        return {f"CompileShapes.{name}": size for name, size in sizes.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    with compiled_once(str(tmp_path_factory.mktemp("xla"))):
        yield Folder(tmp_path_factory.mktemp("planned"))
    locations.set_data_dir(None)


class Traced(Exception):
    """Ends a run at its first step, with its program."""


def text_of(traced: Any) -> str:
    """A program as text, without the addresses of Python's objects."""
    return re.sub(r"0x[0-9a-f]+", "…", str(traced.jaxpr))


SPLITS = {"TRAIN_SPLIT": "train", "EVAL_SPLIT": "valid"}
STORE, START, IN_STEP = "TEACHER_LABELS", "INITIAL_CHECKPOINT_PATH", "TEACHER"
VECTORS = "EMBEDDING_FILE"
RECIPES: dict[str, tuple[set[str], dict[str, Any]]] = {
    "bert_gold": ({START}, {**SPLITS, "DTYPE": "bfloat16", "ENCODER_LAYERS": (0, 2)}),
    "bert_distil": ({STORE, START}, {**SPLITS, "DROPOUT": 0.2, "MESH_MODEL": 2}),
    "distil": ({STORE}, SPLITS),
    "distil_gold": (set(), {**SPLITS, "MESH_FSDP": 2}),
    "distil_pseudo": ({STORE, VECTORS}, SPLITS),
    "distil_symmetric": ({STORE}, {**SPLITS, "ACCUMULATE": 2, "BATCH_SIZE": 16}),
    "distil_weighted": ({STORE}, {**SPLITS, "ACCUMULATE": 2, "BATCH_SIZE": 16}),
    "distil_teachers": ({STORE}, SPLITS),
    "distil_svd": ({STORE, "TEACHER_EMBEDDING"}, SPLITS),
    "distil_online": ({IN_STEP}, {**SPLITS, "SILVER_SPLIT": "train", "MESH_MODEL": 2}),
    "distil_encoder": ({STORE, START}, {**SPLITS, "DTYPE": "bfloat16"}),
    "distil_t5": ({STORE, "VOCABULARY"}, {**SPLITS, **LONG}),
    "distil_t5_layers": (
        {STORE, START},
        {**SPLITS, **LONG, "ENCODER_LAYERS": (1,), "DECODER_LAYERS": (0, 1)},
    ),
    "distil_t5_online": ({IN_STEP, "VOCABULARY"}, {**SPLITS, **LONG, "SILVER_SPLIT": "train"}),
    "distil_t5_tokens": ({IN_STEP, STORE, "VOCABULARY"}, {**SPLITS, **LONG}),
    "finetune": ({START}, LONG),
    "from_scratch": (set(), {**LONG, "VOCABULARY_SIZE": 28}),
    "pretrain": (
        set(),
        {**LONG, "NewVocabulary.size": 28, "EMBEDDING_TEXT": None, "VOCABULARY_TASKS": {TASK: 1.0}},
    ),
    "pod_t5_large": ({START}, LONG),
    "pod_t5_xxl": ({START}, LONG),
    "pod_online_xxl": ({IN_STEP, "VOCABULARY"}, {**SPLITS, **LONG, "SILVER_SPLIT": "train"}),
}
PATHS = {
    STORE: "labels",
    START: "start",
    IN_STEP: "teacher",
    "VOCABULARY": "start",
    "TEACHER_EMBEDDING": "start",
    VECTORS: "glove.txt",
}


def test_every_recipe_is_compared() -> None:
    there = {path.stem for path in Path("gin/runs").glob("*.gin") if "run.job" in whole(path)}
    # Those in stages, that of states and generators are refused (tests/jobs); transfer's words are its
    # start's too.
    generators = {f"generator_{kind}" for kind in WRITERS}
    refused = {"xtreme_2020", "xtreme_2021", "distil_then_gold", "match_states", *generators}
    others = {"pod_label_xxl", "transfer", *refused}
    assert {name for name in there if "study" not in name} == {*RECIPES, *others}


def whole(path: Path) -> str:
    """A Gin file with what it includes."""
    text = path.read_text()
    return text + "".join(map(whole, map(Path, re.findall(r"^include '(.*)'$", text, re.M))))


TEACHERS = {
    "distil_online by a BERT": "bert-teacher",
    "distil_encoder by a BiLSTM": "bilstm-teacher",
}
"""Recipes with other teachers within the step than T5s."""


# One of each way to make a step; the others are built by the same functions.
QUICK = {"bert_gold", "distil", "distil_encoder", "distil_online", "distil_t5_tokens", "finetune"}


@pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
        for name in [*RECIPES, *TEACHERS]
    ],
)
def test_the_planned_step_is_the_first_that_runs(
    folder: Folder, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = name.partition(" ")[0]
    needed, more = RECIPES[recipe]
    if name in TEACHERS:
        needed, more = needed - {STORE}, {**more, "SILVER_SPLIT": "train", STORE: None}
    files = [f"gin/runs/{recipe}.gin"]
    sizes = {name: value for name, value in TINY.items() if uses(recipe, name)}
    if recipe in ("distil_encoder", "bert_distil", "pod_online_xxl") and "DTYPE" not in more:
        more = {**more, "DTYPE": "float32"}
    common = {**sizes, "BATCH_SIZE": 8, **more}
    given = {name: str(folder.path / PATHS[name]) for name in needed}
    if "bert" in recipe:
        given[START] = str(folder.path / "bert")
    if name in TEACHERS:
        given[IN_STEP] = str(folder.path / TEACHERS[name])
    if recipe == "distil_teachers":
        given[STORE] = (given[STORE], given[STORE])  # type: ignore[assignment]

    def stop(step: Any, state: Any, batch: Any, key: jax.Array) -> None:
        frozen = step._frozen
        raise Traced(text_of(step._step.trace(state, batch, key, *frozen)))

    monkeypatch.setattr(TimedStep, "__call__", stop)
    run = {**folder.run, **common, **given, "MODEL_DIR": str(folder.path / recipe)}
    with pytest.raises(Traced) as traced:
        configured(files, folder.bindings(run)).run()

    # Checkpoints and the teacher say what they are by their configuration; the data are not there.
    known = {name: path for name, path in given.items() if name in (START, IN_STEP)}
    known |= {VECTORS: "gone"} if VECTORS in given else {}  # a step does not depend on them
    bindings = folder.bindings({**common, **known, **folder.shapes})
    plan = plan_run(*run_to_plan(files, bindings), jax.devices()[:8])
    assert text_of(plan.step.trace(*plan.arguments)) == str(traced.value)
    if name == "distil_online":
        described = folder.bindings({**common, **TEACHER, **folder.shapes})
        plan = plan_run(*run_to_plan(files, described), jax.devices()[:8])
        assert text_of(plan.step.trace(*plan.arguments)) == str(traced.value)


def test_a_teacher_of_another_number_of_tags_is_refused(folder: Folder) -> None:
    values = {
        **folder.shapes,
        IN_STEP: str(folder.path / "bert-teacher"),
        "CompileShapes.labels": 4,
    }
    run, shapes = run_to_plan(["gin/runs/distil_online.gin"], folder.bindings(values))
    with pytest.raises(UserError, match=r"predicts 5 tags, .* have 6 .* CompileShapes.labels=3"):
        plan_run(run, shapes, jax.devices()[:8])


def uses(recipe: str, name: str) -> bool:
    """Whether a recipe is of the kind that a field describes."""
    kind = name.partition("Config")[0]
    of = {"EncoderTagger": recipe == "distil_encoder", "T5": "t5" in recipe or "pod" in recipe}
    of["T5"] |= recipe in ("from_scratch", "pretrain")
    return of.get(kind, recipe.startswith("distil") and not of["T5"] and not of["EncoderTagger"])


def test_the_planned_batch_of_labels_is_what_label_runs(folder: Folder) -> None:
    predictor: Any = Tagger.load(folder.path / "teacher", batch_size=8)._predictor
    assert isinstance(predictor, SentPredictor)
    step, batch = predictor.program([SENTENCES[0].words] * 8)
    params = Tagger.load(folder.path / "teacher")._params
    values = {START: str(folder.path / "start"), "MESH_MODEL": 1, "BATCH_SIZE": 8}
    alone = {"SCAN_LAYERS": False, "DTYPE": "float32", "MESH_DATA": 1, "Placement.first_devices": 1}
    bindings = folder.bindings({**values, **alone, **folder.shapes})
    plan = plan_run(*run_to_plan(["gin/runs/pod_label_xxl.gin"], bindings), jax.devices()[:8])
    planned = re.sub(
        r"\s*sharding_constraint\[.*?\]", "", text_of(plan.step.trace(*plan.arguments))
    )
    assert jax.tree.structure(plan.arguments[0]) == jax.tree.structure(params)
    assert [leaf.shape for leaf in jax.tree.leaves(plan.arguments[1])] == [
        np.shape(leaf) for leaf in jax.tree.leaves(batch)
    ]
    assert planned.count("while") == text_of(step.trace(params, batch)).count("while")
