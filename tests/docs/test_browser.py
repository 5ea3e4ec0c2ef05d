"""The page of docs/browser tags in Chromium as the runtime does in Python."""

import functools
import http.server
import random
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill_jax.export import graph
from distill_jax.export.directory import export_onnx
from distill_jax.inference.settings import TaggerSettings
from distill_jax.vocab import WordVocabulary
from distill_jax_runtime.tagger import Tagger
from tests import tiny

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parents[2] / "docs" / "browser"
ORT = FOLDER / "ort"
# fmt: off
PIECES = (
    *("to", "Berlin", "on", "may", "4", "BERLIN", "caf\u00e9", "cafe\u0301", "e\u0301\u0323", "İstanbul"),
    *("ΟΔΟΣ", "mara,", "e-mail", "don't", "a_b", "3.5%", "co\u00adop", "zero\u200bwidth", "unbelievably"),
    *("😀", "👩\u200d💻", "👍🏽", "🇩🇪🇫🇷🇩", "❤\ufe0f", "1\ufe0f\u20e3", "🏴\U000e0067\U000e007f", "ﬁne"),
    *("東京へ", "私はGPT4です。", "か\u3099", "\U00020bb7野家", "서울에서", "ภาษาไทย", "हिन्दी।"),
    *("\U0001d4b3", "שָׁלוֹם", "مَرْحَبًا", "\u202eabc\u202c", "\u0301x", "\u200d", "\ufeff", "\x00", "\x1c"),
)
# fmt: on
BLANKS = (" ", " ", " ", "", "  ", "\r\n", "\t", "\u00a0", "\u3000", "\x85", "\u2028")
WORDS = WordVocabulary(
    ["to", "berlin", "on", "may", "4", "café", "😀", "東", "οδος", "i\u0307stanbul", "שָׁלוֹם"],
    [*"abeilmnorty4Bé😀東私", "\u0301", "\u200d"],
)
FROZEN = WORDS.with_frozen(
    {"😀": 0, "mara,": 1, "don't": 2, "café": 3, "on": 4, "ﬁne": 5, "e-mail": 6}
)


def texts(count: int) -> list[str]:
    """Texts of up to 14 pieces with blanks of all sorts between them, or none."""
    rng = random.Random(7)
    made = (
        "".join(rng.choice(PIECES) + rng.choice(BLANKS) for _ in range(n % 15))
        for n in range(count)
    )
    return ["".join(rng.choice(BLANKS)) + text for text in made]


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's folder as its README has it: with onnxruntime-web, and models."""
    if not (ORT / "ort.wasm.bundle.min.mjs").is_file():
        pytest.skip(f"needs onnxruntime-web in {ORT}: docs/browser/README.md says how")
    folder = tmp_path_factory.mktemp("browser") / "page"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("model", "ort"))
    (folder / "ort").symlink_to(ORT)
    for rule, vocabulary in (("punctuation", WORDS), ("blanks", FROZEN)):
        config = tiny.BILSTM_CONFIG.replace(
            num_words=vocabulary.num_words,
            num_chars=vocabulary.num_chars,
            num_frozen_words=vocabulary.num_frozen_words,
        )
        settings = TaggerSettings(
            format="word_tags",
            temperature=1.7,
            thresholds={"city": 0.3},
            max_chars=9,
            text_words=rule,
        )
        model = tiny.save_tiny(
            folder.parent / rule,
            "bilstm",
            config=config,
            params=tiny.bilstm_params(config),
            vocabulary=vocabulary,
            settings=settings,
            name=rule,
        )
        with pytest.MonkeyPatch.context() as patch:
            if vocabulary is FROZEN:
                patch.setattr(graph, "_LARGE", 64)  # its tables get a file of their own
            export_onnx(model, folder / rule)
    assert (folder / "blanks" / "model.onnx.data").is_file()
    export_onnx(model, folder / "int8", int8=True)
    shutil.copytree(folder / "punctuation", folder / "model")
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """A page at the address; the test fails if its script does, or something is fetched from elsewhere."""
    page = browser.new_page()
    page.set_default_timeout(20_000)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "request", lambda asked: None if asked.url.startswith(address) else faults.append(asked.url)
    )
    page.goto(address)
    yield page
    page.close()
    assert not [fault for fault in faults if not fault.startswith("data:")]


ASK = """async ([model, texts]) => {
  const ort = await import("./ort/ort.wasm.bundle.min.mjs");
  const { Tagger } = await import("./tagger.js");
  const tagger = await Tagger.load(ort, model);
  const answers = await Promise.all(texts.map((text) => tagger.tag(text)));
  for (const [number, { spans }] of answers.entries())
    for (const span of spans) span.sliced = texts[number].slice(span.start_utf16, span.end_utf16);
  return answers;
}"""


@pytest.mark.parametrize(("model", "count"), [("punctuation", 500), ("blanks", 100)])
def test_500_sentences_are_tagged_as_in_python(
    page: Any, folder: Path, model: str, count: int
) -> None:
    given = texts(count)
    expected = Tagger.load(folder / model).predict(given)
    assert sum(len(one.spans) for one in expected) > count / 2
    answers = page.evaluate(ASK, [model, given])
    assert len(answers) == count
    beyond = 0
    for text, found, one in zip(given, answers, expected, strict=True):
        assert found["words"] == list(one.words) and found["tags"] == list(one.tags)
        assert found["labels"] == list(one.labels)
        posteriors = np.reshape(found["posteriors"], one.posteriors.shape)
        np.testing.assert_allclose(posteriors, one.posteriors, atol=1e-4)
        assert len(found["spans"]) == len(one.spans)
        for got, span in zip(found["spans"], one.spans, strict=True):
            for name in ("start", "end", "label", "text", "start_char", "end_char"):
                assert got[name] == getattr(span, name)
            assert got["score"] == pytest.approx(span.score, abs=1e-4)
            assert got["sliced"] == span.text == text[got["start_char"] : got["end_char"]]
            beyond += got["start_utf16"] != got["start_char"]
    assert beyond > count / 10  # offsets that differ are among them


def test_an_int8_export_is_near(page: Any, folder: Path) -> None:
    """Activations have a scale for each batch, which in the browser is a sentence."""
    given = texts(50)
    expected = Tagger.load(folder / "int8", batch_size=1).predict(given)
    answers = page.evaluate(ASK, ["int8", given])
    off = [
        np.abs(np.reshape(found["posteriors"], one.posteriors.shape) - one.posteriors).ravel()
        for found, one in zip(answers, expected, strict=True)
    ]
    assert np.concatenate(off).mean() < 1e-3


def test_the_page_by_keyboard(page: Any, folder: Path) -> None:
    page.wait_for_selector("#tag:enabled")
    assert "with 2 labels" in page.inner_text("#status")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "text"
    # Typed, the second line begins at 5 in code points, and at 6 in UTF-16.
    page.keyboard.type("😀 to")
    page.keyboard.press("Enter")
    page.keyboard.type("<b>Berlin")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#results:not([hidden])")
    [first, second] = Tagger.load(folder / "model").predict(["😀 to", "<b>Berlin"])
    expected = [
        [span.text, span.label, start + span.start_char, start + span.end_char]
        for start, one in ((0, first), (5, second))
        for span in one.spans
    ]
    rows = [row.split("\t") for row in page.locator("#rows tr").all_inner_texts()]
    assert [[row[0], row[1], *map(int, row[4].split("–"))] for row in rows] == expected
    assert any(start >= 5 for *_, start, _ in expected)
    for row, (*_, start, end) in zip(rows, expected, strict=True):
        assert row[3] == f"{start + (start > 0)}–{end + 1}"
    assert page.locator("#readings b:has-text('Berlin')").count() == 0  # the text is no markup


def test_what_is_wrong_is_one_line(page: Any, folder: Path, address: str) -> None:
    damaged = folder / "damaged"
    shutil.copytree(folder / "model", damaged, dirs_exist_ok=True)
    (damaged / "model.onnx").write_bytes((damaged / "model.onnx").read_bytes()[:-9])
    for model, said in (
        ("damaged", "damaged/model.onnx: damaged, or not what was exported"),
        ("nowhere", "nowhere/tagger.json: cannot be read (404)"),
    ):
        page.goto(f"{address}?model={model}")
        page.wait_for_selector("#status.bad")
        assert page.inner_text("#status").startswith(said)
        assert page.locator("#tag").is_disabled()
