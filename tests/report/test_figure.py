"""Drawings of matplotlib's inside a page: ids apart, nothing from outside, named for all."""

import pytest

from distill_jax.report.figure import figure
from distill_jax.report.page import Section, page
from tests.html_reader import Page

SVG = """<?xml version="1.0" encoding="utf-8" standalone="no"?>
<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">
<svg xmlns:xlink="http://www.w3.org/1999/xlink" width="9pt" xmlns="http://www.w3.org/2000/svg">
 <metadata><rdf:RDF xmlns:cc="http://creativecommons.org/ns#"/></metadata>
 <!-- a comment -->
 <defs><path id="g" d="M 0 0"/><clipPath id="c"><rect width="1"/></clipPath></defs>
 <use xlink:href="#g" clip-path="url(#c)" style="fill: url(#c)"/>
</svg>
"""


def test_the_same_drawing_twice() -> None:
    drawings = [figure(SVG, name=name, title=f"t<{name}>", caption="c") for name in ("a", "b")]
    html = page("t", "", [], [Section("s", "s", drawings)])
    read = Page(html)
    assert {"a-g", "a-c", "b-g", "b-c"} <= read.ids
    assert read.links_hold()
    assert html.count("url(#a-c)") == html.count("url(#b-c)") == 2
    assert "http:" not in html and "metadata" not in html and "comment" not in html
    labels = [v["aria-label"] for tag, v in read.elements if v.get("role") == "img"]
    assert labels == ["t<a>", "t<b>"]


def test_a_drawing_of_matplotlib() -> None:
    plots = pytest.importorskip("distill_jax.report.plots")
    bins = [{"lower": 0.5, "upper": 1.0, "count": 3, "confidence": 0.9, "accuracy": 0.8}]
    result = {"bins": bins, "ece": 0.1, "brier": 0.2, "accuracy": 0.8, "words": 3}
    svg = plots.reliability_svg(result)
    assert svg == plots.reliability_svg(result)
    html = page("t", "", [], [Section("s", "s", [figure(svg, name="r", title="reliability")])])
    assert Page(html).links_hold()
    assert "http" not in html.replace("http-equiv", "")
