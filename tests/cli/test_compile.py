"""`distill-jax compile` on virtual devices: every kind of run, the search, and bad input."""

import functools
import json

import jax
import pytest

from distill_jax.cli.main import main
from distill_jax.errors import UserError
from distill_jax.planning import compilation
from distill_jax.planning import search as compile_search
from distill_jax.planning.compilation import Report
from distill_jax.planning.hlo import Traffic
from distill_jax.planning.plan import plan_run, run_to_plan
from distill_jax.train.flops import matrix_flops

TINY = [
    "--gin.T5Config.vocab_size=384",
    "--gin.T5Config.d_model=16",
    "--gin.T5Config.d_kv=8",
    "--gin.T5Config.d_ff=16",
    "--gin.T5Config.num_heads=2",
    "--gin.T5Config.num_encoder_layers=1",
    "--gin.T5Config.num_decoder_layers=1",
    "--gin.CompileShapes.words=3",
    "--gin.CompileShapes.labels=4",
    "--gin.CompileShapes.input_tokens=16",
    "--gin.CompileShapes.num_words=50",
    "--gin.CompileShapes.num_chars=20",
    "--gin.CompileShapes.vocab_size=384",
]
LENGTHS = "--gin.TASK_FEATURE_LENGTHS={'inputs': 16, 'targets': 16}"
FINETUNE = ["--gin_file=gin/runs/finetune.gin", *TINY, LENGTHS]


@pytest.fixture(autouse=True)
def _settings_as_they_were():
    names = ("jax_enable_compilation_cache", "jax_compilation_cache_dir", "jax_platforms")
    before = {name: getattr(jax.config, name) for name in names}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def compiled(tmp_path, *arguments):
    path = tmp_path / "report.json"
    assert main(["compile", "--topology", "cpu", "--json", str(path), *arguments]) == 0
    return json.loads(path.read_text())


def test_fine_tuning(tmp_path, capsys):
    report = compiled(tmp_path, *FINETUNE, "--gin.MESH_FSDP=2", "--gin.MESH_MODEL=2")
    printed = capsys.readouterr().out
    assert report["name"] == "fine-tune"
    assert report["mesh"] == {"slice": 1, "data": 2, "fsdp": 2, "model": 2}
    assert report["examples"] == 8
    # Adam keeps two numbers for each parameter, and two counts.
    held = report["contributors"]
    assert held["optimizer state"] == 2 * held["parameters"] + 8
    assert held["batch"] == 5 * 8 / 4 * 16 * 4
    assert report["flops"] == report["model_flops"] > 0
    for heading in ("memory a device", "collectives", "no roofline", "compiled in"):
        assert heading in printed


def planned(file, *bindings):
    """The step of a run, traced but not compiled: that takes seconds, and is XLA's business."""
    bindings = [binding.removeprefix("--gin.") for binding in (*TINY, *bindings)]
    run, shapes = run_to_plan([f"gin/runs/{file}"], bindings)
    plan = plan_run(run, shapes, jax.devices()[:8])
    traced = plan.step.trace(*plan.arguments)
    return plan, matrix_flops(traced.jaxpr, unknown_trips=plan.unknown_trips)


def sizes(plan):
    return {
        name: sum(leaf.size for leaf in jax.tree.leaves(tree)) for name, tree in plan.parts.items()
    }


def test_the_model_s_work_is_the_same_however_it_is_computed():
    plain, flops = planned("finetune.gin", LENGTHS)
    other, more = planned("finetune.gin", LENGTHS, "SCAN_LAYERS=True", "REMAT='full'")
    assert sizes(other) == sizes(plain)
    assert more > flops
    again = jax.make_jaxpr(other.plain)(*other.arguments)
    assert matrix_flops(again) == flops


ONLINE = "distil, the teacher within the step"
TEACHER = [
    "teacher/T5Config.d_model=32",
    "teacher/T5Config.d_ff=16",
    "teacher/T5Config.num_heads=2",
    "teacher/T5Config.num_encoder_layers=1",
    "teacher/T5Config.num_decoder_layers=1",
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "more", "name"),
    [
        ("distil.gin", [], "distil"),
        ("distil_encoder.gin", [], "distil"),
        ("distil_t5_tokens.gin", [LENGTHS, *TEACHER], ONLINE),
        ("pod_label_xxl.gin", ["MESH_MODEL=8", "BATCH_SIZE=8"], "label"),
        ("pod_t5_large.gin", [LENGTHS, "MESH_FSDP=8", "BATCH_SIZE=8"], "fine-tune"),
        ("pod_t5_xxl.gin", [LENGTHS, "MESH_FSDP=8", "BATCH_SIZE=8"], "fine-tune"),
        ("pod_online_xxl.gin", [LENGTHS, *TEACHER, "MESH_FSDP=8", "BATCH_SIZE=8"], ONLINE),
    ],
)
def test_every_kind_of_run_has_a_plan(file, more, name):
    if file in ("distil.gin", "distil_encoder.gin"):
        # Files of students that are no T5 know nothing of one.
        more = [*more, "BATCH_SIZE=8"]
    plan, flops = planned(file, *more)
    assert plan.name == name
    assert ("teacher parameters" in plan.parts) == (name == ONLINE)
    assert ("optimizer state" in plan.parts) == (name != "label")
    assert flops > 0


@pytest.mark.slow
def test_a_teacher_within_the_step_costs_what_it_costs():
    alone, flops = planned("distil_t5.gin", LENGTHS)
    online, more = planned("distil_t5_online.gin", LENGTHS, *TEACHER)
    assert (alone.name, online.name) == ("distil", ONLINE)
    assert sizes(online)["parameters"] == sizes(alone)["parameters"]
    assert sizes(online)["teacher parameters"] > sizes(alone)["parameters"]
    assert more > flops


def test_a_teacher_of_which_nothing_is_said():
    with pytest.raises(UserError, match="give TEACHER"):
        planned("distil_t5_online.gin", LENGTHS)


def reported(plan, *, largest, readable=lambda plan: True):
    """A report without compiling: what fits are batches up to the largest."""
    batch, known = plan.examples, readable(plan)
    return Report(
        name=plan.name,
        devices=8,
        device_kind="TPU v5 lite",
        mesh=dict(plan.mesh.shape),
        examples=batch,
        hbm=2**30,
        fits=batch <= largest,
        memory={"total": 2.0**29 if batch <= largest else batch * 2.0**29},
        contributors={"parameters": 1.0, "activations": 2.0},
        flops=1.0,
        model_flops=1.0,
        traffic=Traffic(1.0, {}) if known else None,
        seconds={"compute": 0.1 * plan.mesh.shape["model"]} if known else {"compute": 1e-9},
        mfu=0.5 if known else None,
        compile_seconds=1.0,
        parameters={},
        advice=() if batch <= largest else ("REMAT='full': activations are computed again",),
    )


def test_the_search_ranks_what_fits(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(compile_search, "compile_plan", functools.partial(reported, largest=8))
    path = tmp_path / "ranking.json"
    more = ["--search", "--max_tries", "4", "--batch_sizes", "16", "8", "4", "--json", str(path)]
    assert main(["compile", "--topology", "cpu", *FINETUNE, *more]) == 0
    printed = capsys.readouterr()
    ranking = json.loads(path.read_text())["ranking"]
    rates = [report["examples_per_second"] for report in ranking]
    assert rates == sorted(rates, reverse=True) and len(rates) >= 2
    assert all(report["fits"] for report in ranking)
    assert sum(line[:2] in ("1/", "2/", "3/", "4/") for line in printed.err.splitlines()) == 4
    assert "does not fit" in printed.err and "stopped after 4 tries" in printed.err
    assert printed.out.splitlines()[0].split()[:4] == ["data", "fsdp", "model", "batch"]


def test_what_cannot_be_read_back_is_ranked_last(monkeypatch, capsys, tmp_path):
    def stub(plan):
        return reported(plan, largest=64, readable=lambda plan: plan.examples != 32)

    monkeypatch.setattr(compile_search, "compile_plan", stub)
    path = tmp_path / "ranking.json"
    more = ["--search", "--max_tries", "4", "--batch_sizes", "32", "16", "--json", str(path)]
    assert main(["compile", "--topology", "cpu", *FINETUNE, *more]) == 0
    found = [(r["examples"], r["step_seconds"]) for r in json.loads(path.read_text())["ranking"]]
    assert [examples for examples, _ in found] == [16, 16, 32, 32]
    assert all((seconds is None) == (examples == 32) for examples, seconds in found)


def test_a_search_in_which_nothing_fits_says_what_came_closest(monkeypatch, capsys):
    monkeypatch.setattr(compile_search, "compile_plan", functools.partial(reported, largest=2))
    more = ["--search", "--max_tries", "2", "--batch_sizes", "32", "16"]
    assert main(["compile", "--topology", "cpu", *FINETUNE, *more]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "nothing that was tried fits; the closest was" in said and "batch 16" in said
    assert "7.0 GiB a device too much; the most is activations; would help: REMAT='full'" in said


def test_what_does_not_fit_is_a_report_and_an_error(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(compilation, "compile_plan", functools.partial(reported, largest=2))
    path = tmp_path / "report.json"
    assert main(["compile", "--topology", "cpu", *FINETUNE, "--json", str(path)]) == 2
    printed = capsys.readouterr()
    assert json.loads(path.read_text())["fits"] is False
    assert "does not fit: 3.0 GiB a device too much" in printed.out
    assert printed.err.splitlines()[-1] == (
        "distill-jax: error: cpu: does not fit: 3.0 GiB a device too much; the most is activations; "
        "would help: REMAT='full': activations are computed again"
    )


def test_candidates_are_every_mesh_with_every_batch():
    found = compile_search.candidates(8, [4, 8])
    assert len(found) == len({(*mesh.values(), size) for mesh, size in found}) == 2 * 10
    assert all(mesh["data"] * mesh["fsdp"] * mesh["model"] == 8 for mesh, _ in found)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--topology", "v9:1x1", *FINETUNE], "--topology 'v9:1x1' is unknown"),
        (["--topology", "cpu"], "compile needs --gin_file"),
        (["--topology", "cpu", "--slices", "2", *FINETUNE], "--slices"),
        (["--topology", "cpu", *FINETUNE, "--gin.MESH_FSDP=3"], "devices"),
        (["--topology", "cpu", *FINETUNE, "--gin.BATCH_SIZE=6"], "BATCH_SIZE 6 does not divide"),
        (
            ["--topology", "cpu", *FINETUNE, "--gin.BATCH_SIZE='x'"],
            "BATCH_SIZE is 'x' and must be int",
        ),
        (["--topology", "cpu", *FINETUNE, "--gin.ACCUMULATE=3"], "does not divide"),
        (["--topology", "cpu", "--gin_file=gin/runs/finetune.gin"], "INITIAL_CHECKPOINT_PATH"),
        (["--topology", "cpu", "--gin_file=gin/runs/nothing.gin"], "no such Gin file"),
        (["--topology", "cpu", *FINETUNE, "--gin.run.job=@StudyRun()"], "this is a study"),
        (["--topology", "cpu", *FINETUNE, "--gin.NOTHING=1"], "NOTHING"),
        (
            ["--topology", "cpu", *FINETUNE, "--gin.INITIAL_CHECKPOINT_PATH='nowhere'"],
            "nowhere",
        ),
        (
            ["--topology", "cpu", *FINETUNE, "--gin.CompileShapes.words=0"],
            "CompileShapes: words is 0",
        ),
    ],
)
def test_bad_input_is_one_line_and_code_2(arguments, message, capsys):
    assert main(["compile", *arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len([line for line in error if line.startswith("distill-jax: error:")]) == 1
    assert message in error[-1]
