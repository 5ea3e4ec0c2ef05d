"""Has axe-core look at the server's pages and at a report in Chromium; fails where a fault is serious.

    npm install --prefix /somewhere axe-core
    python tests/tools/check_page.py /somewhere/node_modules/axe-core/axe.min.js [--shots DIR]

Light and dark, 400, 800 and 1,600 pixels wide: the server's page before and after a text was tagged by two
models, and an evaluation of two models with 80 labels; `--shots` keeps a picture of each. What sticks out of
a page sideways is a fault too. Needs the package playwright and /usr/bin/chromium.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a file: what is imported from is the checkout
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
from playwright.sync_api import sync_playwright

from distill_jax.inference import Prediction, evaluate
from distill_jax.report.cases import Evaluated
from distill_jax.report.evaluation import evaluation_page
from distill_jax.tagging import LabelSet, Sentence
from tests.serve.fake import FakeTagger, World

BROWSER = "/usr/bin/chromium"
WIDTHS = (400, 800, 1600)
TEXT = "remind me to call Mara in Oslo Sentrum on May 4\nbook a table for 2 at Chez Panisse"


def faults_of(page: Any, axe: str) -> list[str]:
    """What axe-core finds, as lines; minor and moderate findings are printed only."""
    page.evaluate(axe)
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    lines = []
    for fault in found["violations"]:
        where = ", ".join(node["target"][0] for node in fault["nodes"][:3])
        line = f"{fault['impact']}: {fault['id']}: {fault['help']} ({where})"
        print(f"  {line}")
        if fault["impact"] in ("serious", "critical"):
            lines.append(line)
    return lines


def sticks_out(page: Any) -> list[str]:
    """A fault if the page is wider than its window."""
    over = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    return [f"the page sticks out by {over} pixels"] if over > 0 else []


def evaluation_of_many_labels() -> str:
    """The page of two models with 80 labels, right about two thirds and one third of the words."""
    labels = LabelSet(tuple(f"a_label.number_{number}" for number in range(80)))
    chance = np.random.default_rng(0)
    sentences, answers = [], ([], [])  # type: ignore[var-annotated]
    for _ in range(150):
        gold = chance.integers(0, labels.num_tags, 9).astype(np.int32)
        gold[1:][gold[1:] == 1] = 0
        gold[0] *= gold[0] != 1
        words = tuple(f"word{number}" for number in chance.integers(0, 1000, 9))
        sentences.append(Sentence(words, tuple(labels.decode_iob2(gold))))
        for share, predictions in zip((0.7, 0.4), answers, strict=True):
            other = np.where(chance.random(9) < share, gold, chance.integers(2, labels.num_tags, 9))
            scores = chance.normal(size=(9, labels.num_tags))
            scores[np.arange(9), other] += 9
            scores -= np.logaddexp.reduce(scores, axis=1, keepdims=True)
            predictions.append(Prediction(other.astype(np.int32), scores.astype(np.float32)))
    models = []
    for name, predictions in zip(("student", "teacher"), answers, strict=True):
        result = evaluate(labels, sentences, predictions)
        result |= {"parameters": 1_000_000, "sentences_per_second": 1000.0, "temperature": 1.0}
        result |= {"decoder": {"algorithm": "viterbi"}}
        models.append(Evaluated(f"runs/a/{name}/model", labels, predictions, result))
    return evaluation_page("test.conll", sentences, models, examples=20)


def look_at_report(browser: Any, axe: str, shots: Path | None) -> list[str]:
    """The page of an evaluation in all its looks."""
    found: list[str] = []
    html = evaluation_of_many_labels()
    for width in WIDTHS:
        for scheme in ("light", "dark"):
            context = browser.new_context(
                viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
            )
            page = context.new_page()
            print(f"evaluation, {width} px, {scheme}")
            page.set_content(html)
            found += faults_of(page, axe) + sticks_out(page)
            if shots is not None:
                picture = shots / f"evaluation-{width}-{scheme}.png"
                page.screenshot(path=picture, full_page=True, timeout=120_000)
            context.close()
    return found


def look(browser: Any, address: str, axe: str, shots: Path | None) -> list[str]:
    """All pages in all their looks."""
    found: list[str] = []
    for width in WIDTHS:
        for scheme in ("light", "dark"):
            context = browser.new_context(
                viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
            )
            page = context.new_page()
            for name in ("docs", "start", "tagged"):
                print(f"{name}, {width} px, {scheme}")
                if name != "tagged":
                    page.goto(address + ("/docs" if name == "docs" else "/"))
                else:
                    page.select_option("#second", "b")
                    page.fill("#text", TEXT)
                    page.click("#tag")
                    page.wait_for_selector(".reading")
                    page.click(".word >> text=Oslo")
                found += faults_of(page, axe) + sticks_out(page)
                if shots is not None:
                    page.screenshot(path=shots / f"{name}-{width}-{scheme}.png", full_page=True)
            context.close()
    return found


def main() -> int:
    """Prints what was found; 1 where something is serious."""
    parser = argparse.ArgumentParser(description="Checks the pages' accessibility.")
    parser.add_argument("axe", type=Path, help="axe.min.js of axe-core")
    parser.add_argument("--shots", type=Path, metavar="DIR", help="where pictures go")
    options = parser.parse_args()
    if options.shots is not None:
        options.shots.mkdir(parents=True, exist_ok=True)
    taggers = {"a": FakeTagger(), "b": FakeTagger(LabelSet(("city", "other")))}
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), taggers=taggers)
        world.models.warm()
        with world.served() as address, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
            axe = options.axe.read_text("utf-8")
            found = look(browser, address, axe, options.shots)
            found += look_at_report(browser, axe, options.shots)
            browser.close()
        world.models.close()
    print(f"serious faults: {len(found)}")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
