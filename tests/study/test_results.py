"""What is made of a study's results: CSV, tables, figures and the page; and the paper's numbers."""

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from distill_jax.errors import UserError
from distill_jax.study.groups import mean_std
from distill_jax.study.outputs import write_outputs
from distill_jax.study.page import study_page
from distill_jax.study.paper import paper_f1, paper_perfect
from distill_jax.study.plots import draw_silver
from distill_jax.study.results import RESULT, Result, read_result, write_result
from distill_jax.study.tables import csv_text, markdown
from tests.html_reader import Page
from tests.study.rows import known_rows, plain_f1, row


def test_tables_say_what_the_results_say() -> None:
    text = markdown(known_rows(plain_f1))
    loss = "τ = 2, of the teacher's scores and the student's, KL times τ²"
    assert f"{loss}, silver sentences weighted by `entropy`. Lines in" in text
    for line in (
        # Mean of x and x + 1, sample standard deviation 0.71; `other` lies 10 above.
        "|  | SNIPS | other | mean |",
        "| BiLSTM, gold only | 50.50 ± 0.71 | 60.50 ± 0.71 | 55.50 |",
        "| *paper* | *51.63* | – | – |",
        "| T5 teacher | 80.50 ± 0.71 | 90.50 ± 0.71 | 85.50 |",
        "| *paper* | *54.33* | – | – |",
        "| BiLSTM, distilled (2000 silver, λ = 1) | 72.50 ± 0.71 | 82.50 ± 0.71 | 77.50 |",
        "| *paper* | *57.18* | – | – |",
        "| silver | λ | SNIPS | other | mean |",
        "| 0 | 0 (gold only) | 50.50 ± 0.71 | 60.50 ± 0.71 | 55.50 |",
        "| 0 | 1 | 52.50 ± 0.71 | 62.50 ± 0.71 | 57.50 |",
        "| 500 | 0 | 55.50 ± 0.71 | 65.50 ± 0.71 | 60.50 |",
        "| *paper: 500* | *0* | *55.66* | – | – |",
        "| *paper: 500* | *1* | *57.00* | – | – |",
        "| 500 | 1 − 0 | +2.00 ± 0.00 | +2.00 ± 0.00 | +2.00 |",
        "| SNIPS | teacher | 9.00M | 200 | 80.50 ± 0.71 |",
    ):
        assert line in text.splitlines(), f"{line}\n{text}"
    single = markdown([r for r in known_rows(plain_f1) if r.seed == 0 and r.dataset == "snips"])
    assert "| BiLSTM, gold only | 50.00 |" in single.splitlines()


def test_t5_students_have_lines_of_any_size(tmp_path: Path) -> None:
    t5 = {"model": "t5-student", "kl_weight": 1.0}
    few = row("a", 0, "t5-silver500-kl1", 0.5, silver="500", **t5)
    gold = row("a", 0, "bilstm-gold", 0.5, recipe="gold")
    text = markdown([gold, few, row("a", 0, "t5-silver0-kl1", 0.25, size="full", **t5)])
    assert "| T5 student (500 silver, λ = 1) | 50.00 |" in text.splitlines()
    assert "| T5 student (0 silver, λ = 1) | 12.50 / 25.00 |" in text.splitlines()


def test_every_lambda_has_a_line(tmp_path: Path) -> None:
    weights = (0.0, 0.1, 0.5, 1.0, 2.0)
    rows = [row("a", 0, "x", 0.5, silver="500", kl_weight=weight) for weight in weights]
    draw_silver(rows, tmp_path / "figure.svg")
    text = (tmp_path / "figure.svg").read_text()
    assert all(f"λ = {weight:g} (" in text for weight in weights)


def test_csv_and_figures(tmp_path: Path) -> None:
    rows = known_rows(plain_f1)
    read = list(csv.DictReader(csv_text(rows).splitlines()))
    assert [float(r["f1"]) for r in read] == [r.f1 for r in rows]
    write_outputs(tmp_path, rows, {})
    svg = (tmp_path / "silver_100_50.svg").read_bytes()
    html = (tmp_path / "report.html").read_bytes()
    assert b"<svg" in svg and b"<svg" in html
    write_outputs(tmp_path, rows, {})  # equal results give equal files
    assert (tmp_path / "silver_100_50.svg").read_bytes() == svg
    assert (tmp_path / "report.html").read_bytes() == html
    assert Page(html.decode()).links_hold()
    # A data set more is a panel more, up to four in a line.
    assert (tmp_path / "quality_100_50.png").stat().st_size > 10_000


def test_the_page() -> None:
    rows = known_rows(plain_f1)
    names = {"other": "<other> & co"}  # a data set may be called anything
    rows = [
        dataclasses.replace(each, dataset=names.get(each.dataset, each.dataset)) for each in rows
    ]
    full = [
        dataclasses.replace(each, size="full", silver="0", silver_sentences=0)
        for each in rows
        if each.name in ("teacher", "bilstm-gold", "bilstm-silver0-kl1")
    ]
    settings = {"is": "StudyRun", "students": {"is": "StudentRun", "steps": 7}, "b": "<b>"}
    figures = ("silver_100_50", "quality_100_50", "quality_full")
    drawings = {name: f'<svg><path id="p"/><text>{name}</text></svg>' for name in figures}
    html = study_page(rows + full, drawings, settings, {})
    read = Page(html)
    assert read.links_hold()
    assert ["", "SNIPS", "<other> & co", "mean F1"] in [row for t in read.tables for row in t]
    assert {"size-100_50", "size-full", "paper", "settings"} <= read.ids
    # Every cell of the Markdown tables, without its marks.
    shown = [row for table in read.tables for row in table]
    lines = [line for line in markdown(rows + full).splitlines() if line.startswith("| ")]
    assert len(lines) > 30
    for line in lines:
        cells = [cell.strip() for cell in line[1:-1].split(" |")]
        cells = [cell[1:-1] if cell[:1] == "*" else cell for cell in cells]
        assert cells in shown
    # Ours, the paper's, and by how much ours is better.
    for line in (
        ["SNIPS", "100/50", "BiLSTM, gold only", "50.50 ± 0.71", "51.63", "-1.13"],
        ["SNIPS", "100/50", "T5 teacher", "80.50 ± 0.71", "54.33", "+26.17"],
        ["SNIPS", "100/50", "BiLSTM, 500 silver, λ = 1", "57.50 ± 0.71", "57.00", "+0.50"],
        ["SNIPS", "full", "T5 teacher", "80.50 ± 0.71", "96.07", "-15.57"],
    ):
        assert line in shown
    assert not any(row[:2] == ["<other> & co", "100/50"] for row in shown)
    assert ["b", "'<b>'"] in shown and ["students.steps", "7"] in shown
    assert all(name in read.text for name in figures)
    assert study_page(rows + full, drawings, settings, {}) == html
    bare = Page(study_page([row for row in rows if row.dataset != "snips"], {}, {}, {}))
    assert not {"paper", "settings", "different"} & bare.ids


def test_the_papers_numbers() -> None:
    assert paper_f1("atis", "100/50", "500 λ=1") == 85.10
    assert paper_f1("mit_restaurant", "300/150", "distilled") == 68.62
    assert paper_f1("snips", "full", "teacher") == 96.07
    assert paper_perfect("snips", "gold") == 87.24
    assert paper_f1("sgd", "100/50", "gold") is paper_f1("snips", "50/50", "gold") is None
    assert paper_f1("snips", "full", "distilled") is None


def test_mean_and_sample_deviation() -> None:
    assert mean_std([1.0, 3.0]) == (2.0, pytest.approx(2**0.5))
    assert mean_std([1.0]) == (1.0, None)


def test_a_kind_that_the_study_does_not_know_has_lines_too(tmp_path: Path) -> None:
    rows = [row("a", 0, "bilstm-gold", 0.5, recipe="gold")]
    rows += [row("a", 0, "toy-silver0-kl1", 0.25, model="toy-student", kl_weight=1.0)]
    assert "| toy student (0 silver, λ = 1) | 25.00 |" in markdown(rows).splitlines()
    rows[1] = dataclasses.replace(rows[1], temperature=2.0, confidence_weighting="none")
    write_outputs(tmp_path, rows, {})
    assert "toy student" in (tmp_path / "quality_100_50.svg").read_text()


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_result(tmp_path) is None
    models = known_rows(plain_f1)
    result = Result(cell="c", data_sha256="0", seconds={"cell": 1.5}, models=models)
    write_result(tmp_path, result)
    assert read_result(tmp_path) == result
    assert result.teacher is models[0]


@pytest.mark.parametrize("where", ["result", "model"])
@pytest.mark.parametrize("change", [{"f1": None, "cell": None}, {"unknown": 1}])
def test_a_result_with_other_fields_is_damaged(
    where: str, change: dict[str, Any], tmp_path: Path
) -> None:
    models = known_rows(plain_f1)
    write_result(tmp_path, Result(cell="c", data_sha256="0", seconds={}, models=models))
    path = tmp_path / RESULT
    content = json.loads(path.read_text())
    changed = content if where == "result" else content["models"][3]
    for name, value in change.items():
        if value is None:
            changed.pop(name, None)
        else:
            changed[name] = value
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"result\.json: damaged; delete it"):
        read_result(tmp_path)
    path.write_text(json.dumps({**content, "schema": 7}))
    with pytest.raises(UserError, match="schema 7 instead of 1"):
        read_result(tmp_path)


@pytest.mark.parametrize(
    ("models", "title"),
    [(("t5",), "T5 teacher"), (("bert",), "BERT teacher"), (("t5", "bert"), "teacher")],
)
def test_teachers_are_called_by_their_kind(models: tuple[str, ...], title: str) -> None:
    rows = [
        dataclasses.replace(each, model=models[each.seed % len(models)])
        if each.recipe == "teacher"
        else each
        for each in known_rows(plain_f1)
    ]
    assert f"| {title} |" in markdown(rows)
