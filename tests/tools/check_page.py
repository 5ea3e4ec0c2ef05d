"""Has axe-core look at the server's pages in Chromium, and fails where it finds a serious fault.

    npm install --prefix /somewhere axe-core
    python tests/tools/check_page.py /somewhere/node_modules/axe-core/axe.min.js [--shots DIR]

Light and dark, 400 and 1,600 pixels wide, before and after a text was tagged by two models; `--shots` keeps
a picture of each. Needs the package playwright and /usr/bin/chromium.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a file: what is imported from is the checkout
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from playwright.sync_api import sync_playwright

from distill_jax.tagging import LabelSet
from tests.serve.fake import FakeTagger, World

BROWSER = "/usr/bin/chromium"
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


def look(browser: Any, address: str, axe: str, shots: Path | None) -> list[str]:
    """All pages in all their looks."""
    found: list[str] = []
    for width in (400, 1600):
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
                found += faults_of(page, axe)
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
            found = look(browser, address, options.axe.read_text("utf-8"), options.shots)
            browser.close()
        world.models.close()
    print(f"serious faults: {len(found)}")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
