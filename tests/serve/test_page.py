"""The page in a browser, by mouse and by keyboard."""

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from distill_jax.serve.openapi import openapi
from distill_jax.serve.page import docs_page, front_page
from distill_jax.serve.settings import ServeSettings
from distill_jax.tagging import LabelSet
from tests.serve.fake import FakeTagger, World

MANY = LabelSet(tuple(f"label_{number}" for number in range(80)))
OTHER = LabelSet(("city", "other"))
TEXT = "go to Oslo Sentrum on May 4\n\n👩‍🚀 meets Ana"


class ManyLabels(FakeTagger):
    """`L17` is a span of label 17."""

    def label_of(self, word: str) -> str | None:
        return f"label_{word[1:]}" if word.startswith("L") else None


def test_pages_hold_all_they_need() -> None:
    """No address of elsewhere; one style and one script, which the policy allows by their hashes."""
    for page in (front_page(), docs_page(openapi(ServeSettings(), needs_token=True))):
        assert not re.search(r"""(src|href)=["'](https?:)?//|@import|url\(""", page.html)
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert len(re.findall("<script", page.html)) <= 1 and " style=" not in page.html


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    taggers = {"a": FakeTagger(), "b": FakeTagger(OTHER), "many": ManyLabels(MANY)}
    world = World(tmp_path_factory.mktemp("models"), taggers=taggers)
    world.models.warm()
    with world.served() as address:
        yield address
    world.models.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """A fresh page; the test fails if its script does, or something is fetched from elsewhere."""
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.set_default_timeout(10_000)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "console", lambda message: faults.append(message.text) if message.type == "error" else None
    )
    page.on(
        "request", lambda asked: None if asked.url.startswith(address) else faults.append(asked.url)
    )
    page.goto(address)
    page.wait_for_selector("#first option", state="attached")
    yield page
    context.close()
    assert not [fault for fault in faults if "status of 422" not in fault]


def tagged(page: Any, text: str = TEXT, **models: str) -> None:
    for field, model in models.items():
        page.select_option(f"#{field}", model)
    page.fill("#text", text)
    page.click("#tag")
    page.wait_for_selector("#results:not([hidden])")


def marks(page: Any, reading: int = 0) -> list[str]:
    article = page.locator(".reading").nth(reading)
    return [re.sub(r"\s+", " ", text) for text in article.locator("mark").all_inner_texts()]


def test_by_mouse(page: Any) -> None:
    tagged(page)
    assert marks(page) == [
        "Oslo Sentrum city 75.0 %",
        "May city 75.0 %",
        "4 date_time 75.0 %",
        "Ana city 75.0 %",
    ]
    page.hover(".word >> text=Sentrum")
    assert page.inner_text("#word-title") == "Sentrum"
    rows = page.locator("#word-tags li").all_inner_texts()
    assert rows[0].split() == ["I", "90.0", "%"]
    page.click(".word >> text=Oslo")
    assert page.inner_text("#word-title") == "Oslo"
    assert page.get_attribute(".word >> text=Oslo", "aria-pressed") == "true"


def test_by_keyboard(page: Any) -> None:
    """From the address bar to the tags of a word with no mouse."""
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "text"
    page.keyboard.type("go to Oslo")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#results:not([hidden])")
    for _ in range(6):  # models, button, threshold, copy, the first word
        page.keyboard.press("Tab")
    assert page.inner_text("#word-title") == "go"
    page.keyboard.press("End")
    assert page.inner_text("#word-title") == "Oslo"
    page.keyboard.press("ArrowLeft")
    assert page.inner_text("#word-title") == "to"
    assert page.evaluate("document.activeElement.textContent") == "to"


def test_the_threshold_hides_spans(page: Any) -> None:
    tagged(page, "go to Oslo")
    assert marks(page) == ["Oslo city 75.0 %"]
    page.focus("#threshold")
    for _ in range(76):
        page.keyboard.press("ArrowRight")
    assert page.inner_text("#threshold-shown") == "0.76"
    assert marks(page) == ["Oslo"]
    assert "1 below the threshold" in page.inner_text(".reading h3")


def test_two_models_side_by_side(page: Any) -> None:
    tagged(page, "go to Oslo on 4", second="b")
    assert marks(page, 0) == ["Oslo city 75.0 %", "4 date_time 75.0 %"]
    assert marks(page, 1) == ["Oslo city 75.0 %", "4 other 75.0 %"]
    assert page.locator("mark.differs b").all_inner_texts() == ["date_time", "other"]
    assert page.locator("#differences tbody tr").count() == 1
    cells = page.locator("#differences tbody td").all_inner_texts()
    assert [cell.split() for cell in cells] == [
        ["4"],
        ["date_time", "75.0", "%"],
        ["other", "75.0", "%"],
    ]
    page.hover(".reading:nth-child(2) .word >> text=4")
    assert page.locator("#word-tags h3").all_inner_texts() == ["a: B-date_time", "b: B-other"]


def test_the_copy_has_offsets_in_the_whole_text(page: Any) -> None:
    tagged(page)
    page.click("#copy")
    page.wait_for_selector("#status:has-text('Copied.')")
    copied = json.loads(page.evaluate("navigator.clipboard.readText()"))
    assert copied["text"] == TEXT
    [model] = copied["models"]
    assert [TEXT[span["start"] : span["end"]] for span in model["spans"]] == [
        span["text"] for span in model["spans"]
    ]
    assert [span["text"] for span in model["spans"]][-1] == "Ana"


def test_texts_are_no_markup_and_errors_are_shown(page: Any) -> None:
    tagged(page, "<img src=x onerror=alert()> & Oslo")
    assert page.locator(".reading img").count() == 0
    assert "<img src=x onerror=alert()>" in page.inner_text(".reading p")
    page.fill("#text", "a " * 300)
    page.click("#tag")
    page.wait_for_selector("#status.bad")
    assert "300 words; at most 256" in page.inner_text("#status")


LOOKS = """() => {
  const paint = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (colour) => {
    paint.fillStyle = colour;
    paint.fillRect(0, 0, 1, 1);
    return [...paint.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  return [...document.querySelectorAll("mark")].map((mark) => {
    const style = getComputedStyle(mark);
    return { back: rgb(style.backgroundColor), text: rgb(style.color), line: style.borderBottomStyle };
  });
}"""


def linear(colour: list[int]) -> list[float]:
    shares = [value / 255 for value in colour]
    return [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares]


def contrast(one: list[int], other: list[int]) -> float:
    """As WCAG 2 has it."""
    weights = (0.2126, 0.7152, 0.0722)
    low, high = sorted(float(np.dot(weights, linear(colour))) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def oklab(colour: list[int]) -> np.ndarray:
    """Björn Ottosson's: distances are about what eyes see."""
    to_lms = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
    to_lab = [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
    return np.array(to_lab) @ np.cbrt(np.array(to_lms) @ linear(colour))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_eighty_labels_are_told_apart_and_read(page: Any, scheme: str) -> None:
    """Contrast AA (4.5); labels with one kind of line have colours that are no neighbours (0.02 is
    a difference that is just seen side by side)."""
    page.emulate_media(color_scheme=scheme)
    tagged(page, " ".join(f"L{number}" for number in range(80)), first="many")
    looks = page.evaluate(LOOKS)
    assert len(looks) == 80
    for look in looks:
        assert contrast(look["back"], look["text"]) >= 4.5, look
    for one, other in itertools.combinations(looks, 2):
        if one["line"] == other["line"]:
            assert np.linalg.norm(oklab(one["back"]) - oklab(other["back"])) >= 0.04, (one, other)


@pytest.mark.parametrize("width", [400, 1600])
def test_nothing_is_wider_than_the_window(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    tagged(page, TEXT + "\n" + "Donaudampfschifffahrt" * 8, second="b")
    page.click(".word >> text=Oslo")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("#word").is_visible()
