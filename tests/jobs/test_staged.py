"""Runs in stages: what each trains, that one which was stopped ends as one that was not, bad input."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from distill_jax.cli import main
from distill_jax.data import demo as demo_data
from distill_jax.data import locations
from distill_jax.data.distillation import Target
from distill_jax.data.readers import write_conll
from distill_jax.jobs import stage_plan, staged
from distill_jax.kinds.base import Model
from distill_jax.model_dir.directory import load_model, save_model
from distill_jax.tagging import LabelSet
from distill_jax.train.selection import Outcome
from distill_jax.vocab import ByteVocabulary
from tests.compiled_once import compiled_once
from tests.tiny import BERT_CONFIG, bert_params
from tests.tiny_bert import write_wordpieces

TASK = "tiny_staged"
FEW_SHOT = f"{TASK}_gold8_dev4_silver8_seed0"
TINY = {
    **{f"BiLSTMConfig.{name}": 4 for name in ("word_dim", "char_dim", "char_hidden", "hidden")},
    "BertConfig.d_model": 8,
    "BertConfig.d_ff": 8,
    "BertConfig.num_layers": 1,
}
SHORT = {
    "TRAIN_STEPS": 2,
    "TAGS_TRAIN_STEPS": 2,
    "EVAL_PERIOD": 1,
    "TAGS_EVAL_PERIOD": 1,
    "BATCH_SIZE": 8,
    "WARMUP_STEPS": 0,
    "LOGITS_TRAINED": ("output", "layer_1"),
    "TAGS_UNFREEZING": False,
    "STATE_LAYERS": ((1, 2), (0, 1)),
    "STATES_ATTENTION_LAYERS": "last",
    "MESH_DATA": 1,
    "Placement.first_devices": 1,
}
GROUPS = ("output", "layer_1", "embeddings")


class Stop(Exception):
    """What stops a run."""


class Folder:
    """A task, a BERT that has its labels, and a store of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for split, size in (("train", 24), ("valid", 4), ("test", 4)):
            sentences = [s for s in demo_data.generate(split, 8 * size) if 5 <= len(s.words) <= 8]
            write_conll(path / "data" / TASK / f"{split}.conll", sentences[:size])
        demo_data.LABELS.save(path / "data" / TASK / "labels.txt")
        self.teacher("teacher", demo_data.LABELS)
        command = ["label", "--model", str(path / "teacher"), "--task", FEW_SHOT, "--data_dir"]
        more = ["--split", "silver", "gold", "--output", str(path / "labels")]
        assert main([*command, str(path / "data"), *more]) == 0

    def teacher(self, name: str, labels: LabelSet, seed: int = 0) -> str:
        """A random one in a directory."""
        config = BERT_CONFIG.replace(num_tags=labels.num_tags, max_positions=128)
        params = bert_params(config, seed)
        save_model(self.path / name, Model(config, params, ByteVocabulary(), labels))
        return str(self.path / name)

    def wordpieces(self) -> str:
        """Another vocabulary than bytes."""
        write_wordpieces(self.path / "pieces", ["to", "on"])
        return str(self.path / "pieces")

    @property
    def store(self) -> dict[str, Any]:
        return {"TEACHER_LABELS": str(self.path / "labels")}

    def run(self, name: str, recipe: str = "xtreme_2021", **changes: Any) -> int:
        values = {
            **SHORT,
            **{k: v for k, v in TINY.items() if k.startswith("Bert") == (recipe[-1] == "1")},
            "MODEL_DIR": str(self.path / name),
            "MIXTURE_OR_TASK_NAME": FEW_SHOT,
            "DATA_DIR": str(self.path / "data"),
            "PREPARED_DATA_DIR": str(self.path / "prepared"),
            "TEACHER": str(self.path / "teacher"),
            **changes,
        }
        stages = changes.get("StagedRun__stages", "@states @logits @tags")
        values = {  # a value of a stage that is not there would be a typing error
            name: value
            for name, value in values.items()
            if name.partition("_")[0] not in ("STATES", "LOGITS", "TAGS", "STATE")
            or f"@{name.partition('_')[0].lower()}" in stages
        }
        options = [
            f"--gin.{key.replace('__', '.')}={value!r}".replace("'<", "").replace(">'", "")
            for key, value in values.items()
        ]
        return main(["train", f"--gin_file=gin/runs/{recipe}.gin", *options])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    with compiled_once(str(tmp_path_factory.mktemp("xla"))):
        yield Folder(tmp_path_factory.mktemp("staged"))
    locations.set_data_dir(None)


@pytest.fixture(scope="module")
def whole(folder: Folder) -> Path:
    """A run that nothing stopped."""
    assert folder.run("whole", **folder.store) == 0
    return folder.path / "whole"


def weights(run: Path) -> bytes:
    return (run / "model" / "model.safetensors").read_bytes()


def test_every_phase_has_a_folder_and_trains_its_groups(whole: Path) -> None:
    facts = load_model(whole / "model").metadata["training"]
    assert facts["recipe"] == "staged"
    assert [(phase["phase"], tuple(phase["trained"])) for phase in facts["phases"]] == [
        ("stage1", GROUPS[1:]),
        ("stage2-phase1", GROUPS[:1]),
        ("stage2-phase2", GROUPS[:2]),
        ("stage3", GROUPS),
    ]
    for phase in facts["phases"]:
        assert (whole / phase["phase"] / "checkpoints").is_dir()
    assert [stage["loss"]["is"] for stage in facts["stages"]] == [
        "StateMatching",
        "LogitRegression",
        "DistillationWeights",
    ]
    assert facts["silver_sentences"] == 8 and facts["steps"] == 8
    assert facts["stages"][0]["loss"]["attention"] == "last"
    lines = (whole / "stage1" / "metrics.jsonl").read_text().splitlines()
    [*_, last] = [line for line in map(json.loads, lines) if "selection" in line]
    parts = [last[name] for name in ("states_1_2", "states_0_1", "attention_1_2")]
    assert last["loss"] == pytest.approx(sum(parts) / 3) and min(parts) > 0


@pytest.mark.parametrize(
    "stopped_in", [pytest.param("stage1", marks=pytest.mark.slow), "stage2-phase2"]
)
def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    folder: Folder,
    whole: Path,
    stopped_in: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    trained = []

    def stopping(objective: Any, batches: Any, evaluate: Any, training: Any, **more: Any) -> Any:
        calls = 0

        def evaluation(params: Any) -> Any:
            nonlocal calls
            calls += 1
            if Path(training.model_dir).name == stopped_in and calls == 2:
                raise Stop
            trained.append(Path(training.model_dir).name)
            return evaluate(params)

        return fit(objective, batches, evaluation, training, **more)

    fit = staged.fit
    monkeypatch.setattr(staged, "fit", stopping)
    name = f"stopped-{stopped_in}"
    with pytest.raises(Stop):
        folder.run(name, **folder.store)
    before = set(trained)
    assert not (folder.path / name / "model").exists()
    trained.clear()
    stopped_in, again = "nowhere", stopped_in
    assert folder.run(name, **folder.store) == 0
    # What had finished was not taken up again; what was stopped went on with its second step.
    assert not (before - {again}) & set(trained)
    assert trained.count(again) == 1
    assert weights(folder.path / name) == weights(whole)
    assert "already trained" in capfd.readouterr().err or again == "stage1"


@pytest.mark.slow
def test_what_is_not_trained_stays_as_it_was(folder: Folder) -> None:
    stages = {"StagedRun__stages": "<(@tags/Stage(),)>", "TEACHER_EMBEDDING": None}
    start = {"TAGS_TRAIN_STEPS": 1, "VOCABULARY": "byte"}
    for name, groups in (("head", ("output",)), ("below", ("layer_1", "embeddings"))):
        assert folder.run(name, **stages, **start, TAGS_TRAINED=groups) == 0
    head, below = (load_model(folder.path / name / "model").params for name in ("head", "below"))
    assert np.abs(head["output"]["kernel"] - below["output"]["kernel"]).max() > 0
    assert not np.any(below["output"]["bias"])
    assert np.any(head["output"]["bias"])


@pytest.mark.slow
def test_states_out_of_a_store_take_the_place_of_the_teacher(
    folder: Folder, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, splits, teacher in (
        ("states", ("silver", "gold", "dev"), "teacher"),
        ("without_dev", ("silver", "gold"), "teacher"),
        ("of_another", ("silver", "gold", "dev"), folder.teacher("third", demo_data.LABELS, 2)),
    ):
        command = ["label", "--states", "1", "2", "--model", str(folder.path / teacher)]
        more = ["--task", FEW_SHOT, "--split", *splits, "--data_dir", str(folder.path / "data")]
        assert main([*command, *more, "--output", str(folder.path / name)]) == 0
    stages = {"StagedRun__stages": "<(@states/Stage(), @tags/Stage())>"}
    common = {**stages, "STATE_LAYERS": ((1, 2), (0, 1)), "STATES_ATTENTION_LAYERS": None}
    start = {"TEACHER_EMBEDDING": str(folder.path / "teacher")}
    kept = {**common, **start, **folder.store, "TEACHER_STATES": str(folder.path / "states")}
    assert folder.run("stored", **kept, TEACHER=None) == 0
    assert folder.run("in_step", **common, **start, **folder.store) == 0
    stored, in_step = (
        [
            line["loss"]
            for line in map(json.loads, (folder.path / name / "stage1" / "metrics.jsonl").open())
            if "selection" in line
        ]
        for name in ("stored", "in_step")
    )
    assert len(stored) == 2
    np.testing.assert_allclose(stored, in_step, rtol=5e-3)  # float16
    for changes, line in (
        (
            {"TEACHER_STATES": str(folder.path / "of_another")},
            "states are of another teacher than that",
        ),
        (
            {"TEACHER_STATES": str(folder.path / "without_dev")},
            "has no states of 4 of 20 sentences",
        ),
        ({"STATE_LAYERS": ((0, 0),)}, "has states of layers 1, 2, not of 0"),
        ({"STATES_ATTENTION_LAYERS": "last"}, "the teacher has none"),
        ({"TEACHER_STATES": str(folder.path / "labels")}, "schema 2 instead of 1"),
    ):
        capfd.readouterr()
        assert folder.run("refused", **{**kept, "TEACHER": None, **changes}) == 2, changes
        assert line in capfd.readouterr().err, changes


@pytest.mark.slow
def test_a_bilstm_learns_a_state_of_a_teacher(folder: Folder) -> None:
    # Without a store: tags and posteriors come from the teacher in the step.
    changes = {"LOGITS_UNFREEZING": False, "LOGITS_TRAINED": None, "STATE_LAYERS": ((1, 2),)}
    changes["STATES_ATTENTION_LAYERS"] = None
    assert folder.run("bilstm", "xtreme_2020", **changes) == 0
    lines = (folder.path / "bilstm" / "stage1" / "metrics.jsonl").read_text().splitlines()
    dev = [line for line in map(json.loads, lines) if "selection" in line]
    assert {"states_1_2"} == {name for name in dev[0] if name.startswith("states")}
    assert dev[-1]["selection"] == -dev[-1]["loss"] > dev[0]["selection"]


def test_stages_that_cannot_be_are_refused_before_anything_is_trained(
    folder: Folder, capfd: pytest.CaptureFixture[str]
) -> None:
    other = folder.teacher("other", LabelSet(("other",), ("o",)))
    second = folder.teacher("second", demo_data.LABELS, seed=1)
    for changes, line in (
        ({"STATE_LAYERS": ((2, 1),)}, "stage 1: STATE_LAYERS has layer 2 of the student"),
        ({"STATE_LAYERS": ((1, 3),)}, "stage 1: STATE_LAYERS has layer 3 of the teacher"),
        (
            {"STATES_ATTENTION_LAYERS": ((2, 2),)},
            "stage 1: ATTENTION_LAYERS has layer 2 of the student",
        ),
        (
            {"STATES_ATTENTION_LAYERS": ((1, 0),)},
            "stage 1: ATTENTION_LAYERS has layer 0 of the teacher",
        ),
        ({"STATES_ATTENTION_LAYERS": ()}, "ATTENTION_LAYERS is ()"),
        ({"STATES_ATTENTION_HEADS": "most"}, "ATTENTION_HEADS is 'most'"),
        (
            {"BertConfig.num_heads": 4},
            "stage 1: the student has 4 attention heads a layer and the teacher 2",
        ),
        (
            {"BertConfig.attention_implementation": "xla"},
            "ATTENTION_LAYERS matches attention maps, and the student has none",
        ),
        (
            {"TEACHER_EMBEDDING": None, "VOCABULARY": folder.wordpieces()},
            "stage 1: attention maps are over tokens, and student and teacher have other vocabularies",
        ),
        ({"TEACHER": None, **folder.store}, "stage 1: it matches a teacher's hidden states"),
        ({"SILVER_SPLIT": None, "LOGITS_SENTENCES": "silver"}, "stage 2: there are no silver"),
        ({"TEACHER": other}, "the teacher has other labels"),
        ({"TEACHER": second, **folder.store}, "second: not the teacher that labelled"),
        (
            {"TAGS_TRAINED": ("top",)},
            "stage 3: TRAINED names 'top'; the student has output, layer_1",
        ),
        ({"STATES_TRAINED": ("output",)}, "stage 1: TRAINED names 'output', which the states"),
        ({"SENTENCES": "gilt"}, "SENTENCES is 'gilt'"),
        ({"StagedRun__stages": "<()>"}, "StagedRun.stages is empty"),
        ({"StagedRun__stages": "<(@states/Stage(),)>"}, "the last stage matches states"),
        (
            {"StagedRun__stages": "<(@logits/Stage(),)>", "TEACHER": None, "SENTENCES": "gold"},
            "stage 1: its loss compares with a teacher's posteriors",
        ),
    ):
        if changes.get("TEACHER", 0) is None:
            changes = {"TEACHER_EMBEDDING": None, "VOCABULARY": "byte", **changes}
        capfd.readouterr()
        assert folder.run("refused", **changes) == 2, changes
        assert line in capfd.readouterr().err
    assert not list(folder.path.glob("refused/stage*"))


@pytest.mark.parametrize("recipe", ["xtreme_2020", "xtreme_2021", "distil_then_gold"])
def test_compile_refuses_them_in_one_line(recipe: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", f"--gin_file=gin/runs/{recipe}.gin", "--topology", "cpu"]) == 2
    assert "a run in stages has a step for each phase" in capfd.readouterr().err


def test_a_stage_of_tags_behind_one_of_states_is_not_compared_with_the_one_before() -> None:
    progress = staged.Progress({})

    def kept(measure: str, score: float, **more: float) -> bool:
        plan: Any = SimpleNamespace(measure=measure)
        phase: Any = SimpleNamespace(folder="stage", names=("output",))
        return progress.take(plan, phase, Outcome({}, {"selection": score, **more}, 1, 1, 1.0))

    assert kept("f1", 0.9) and not kept("f1", 0.8)
    assert kept("loss", -1.0)
    assert kept("f1", 0.88) and progress.metrics == {"selection": 0.88}
    # One of tags that was judged by its loss has an F1 too.
    assert kept("loss of stage 2", -2.0, f1=0.7)
    assert not kept("f1", 0.69) and kept("f1", 0.71)


def test_posteriors_that_are_judged_by_silver_sentences_then_gold_tags(
    folder: Folder, capfd: pytest.CaptureFixture[str]
) -> None:
    stages = {"StagedRun__stages": "<(@posteriors/Stage(), @tags/Stage())>", "TEACHER": None}
    assert folder.run("then_gold", "distil_then_gold", **folder.store, **stages) == 0
    facts = load_model(folder.path / "then_gold" / "model").metadata["training"]
    assert [(phase["phase"], tuple(phase["trained"])) for phase in facts["phases"]] == [
        ("stage1", GROUPS),
        ("stage2", GROUPS),
    ]
    assert [stage["sentences"] for stage in facts["stages"]] == ["all", "gold"]
    lines = (folder.path / "then_gold" / "stage1" / "metrics.jsonl").read_text().splitlines()
    [*_, last] = [line for line in map(json.loads, lines) if line["kind"] == "dev"]
    assert last["selection"] == -last["loss"] < 0 <= last["f1"]
    gold = {"POSTERIORS_SENTENCES": "gold"}
    assert folder.run("none", "distil_then_gold", **folder.store, **stages, **gold) == 2
    assert "stage 1: SELECTION='loss' holds silver sentences out" in capfd.readouterr().err


@pytest.mark.parametrize("silver, held_out", [(2, 1), (39, 1), (40, 2), (20_000, 500)])
def test_silver_sentences_that_are_held_out_are_spread(silver: int, held_out: int) -> None:
    tags = np.zeros(1, np.int32)
    gold = [Target(("gold",), tags, gold=True)] * 3
    targets = [*gold, *(Target((str(n),), tags) for n in range(silver))]
    learnt, judged = stage_plan.hold_out(targets, 1)
    assert len(judged) == held_out and learnt[:3] == gold
    assert sorted(int(t.words[0]) for t in [*learnt[3:], *judged]) == list(range(silver))
    gaps = np.diff([int(t.words[0]) for t in judged])
    assert not len(gaps) or gaps.max() - gaps.min() <= 1
