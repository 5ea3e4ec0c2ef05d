"""Draws the README's picture of quality against speed from the table in docs/results/few_shot.md.

    python benchmarks/figures/quality.py docs/pictures/quality.svg

F1 on SNIPS against sentences a second, on a logarithmic scale; a disc's area grows with the parameters. It
is read in light and dark, as the browser prefers.
"""

import argparse
import dataclasses
import math
import re
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "results" / "few_shot.md"
HEADING = "## Beside other tools"
WIDTH, HEIGHT = 960, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 930, 56, 340
SPEEDS = (100, 3_000)
SCORES = (35, 70)
STYLE = """
  .page { fill: #ffffff; stroke: #d5d9e0 }
  .text { fill: #1f2430 }
  .small { fill: #5b6372; font-size: 12px }
  .grid { stroke: #e1e4ea }
  .other { fill: #8b93a3; stroke: #8b93a3 }
  .ours { fill: #2f7d45; stroke: #2f7d45 }
  @media (prefers-color-scheme: dark) {
    .page { fill: #171a21; stroke: #363c49 }
    .text { fill: #e7eaf0 }
    .small { fill: #a5adbb }
    .grid { stroke: #2b303b }
    .ours { fill: #7cc795; stroke: #7cc795 }
  }
"""


@dataclasses.dataclass(frozen=True)
class Point:
    """A line of the table: F1 in percent, sentences a second from and to, parameters in millions."""

    name: str
    score: float
    slowest: float
    fastest: float
    millions: float | None

    @property
    def ours(self) -> bool:
        """Whether it is one of this project's own models."""
        return self.name.startswith("BiLSTM")


def points(page: str) -> list[Point]:
    """The lines of the table under `HEADING`; raises `ValueError` where there is none."""
    _, found, rest = page.partition(HEADING)
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in rest.partition("\n## ")[0].splitlines()
        if line.startswith("|")
    ]
    if not found or len(rows) < 3:
        raise ValueError(f"no table under {HEADING!r}")
    names = rows[0]
    speed = next(n for n, name in enumerate(names) if name.startswith("sentences/s"))
    made = []
    for row in rows[2:]:
        speeds = [float(number.replace(",", "")) for number in re.findall(r"[\d,]+", row[speed])]
        size = re.fullmatch(r"([\d.]+)M", row[names.index("parameters")])
        millions = float(size[1]) if size else None
        score = float(row[names.index("SNIPS")])
        made.append(Point(row[0].replace("`", ""), score, speeds[0], speeds[-1], millions))
    return made


def across(speed: float) -> float:
    """Where a number of sentences a second lies."""
    least, most = (math.log(end) for end in SPEEDS)
    return LEFT + (RIGHT - LEFT) * (math.log(speed) - least) / (most - least)


def up(score: float) -> float:
    """Where an F1 lies."""
    return BOTTOM - (BOTTOM - TOP) * (score - SCORES[0]) / (SCORES[1] - SCORES[0])


def draw(found: list[Point]) -> str:
    """The picture, as SVG."""
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="Helvetica, Arial, sans-serif" font-size="14" role="img" '
        'aria-label="F1 on SNIPS from 100 labelled sentences, against sentences a second">',
        f"<style>{STYLE}</style>",
        f'<rect class="page" x="1" y="1" width="{WIDTH - 2}" height="{HEIGHT - 2}" rx="10"/>',
        _text(LEFT, 32, "F1 (%) on SNIPS, from 100 labelled sentences", "text"),
    ]
    for score in range(40, SCORES[1], 5):
        y = up(score)
        lines.append(f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        lines.append(_text(LEFT - 10, y + 4, str(score), "small", "end"))
    for speed in (100, 200, 500, 1_000, 2_000):
        lines.append(_text(across(speed), BOTTOM + 20, f"{speed:,}", "small", "middle"))
    about = "sentences a second on one core, 32 at a time; area: parameters"
    lines.append(_text((LEFT + RIGHT) / 2, BOTTOM + 44, about, "small", "middle"))
    for point in found:
        lines += _drawn(point, found)
    return "\n".join([*lines, "</svg>", ""])


def _drawn(point: Point, others: list[Point]) -> list[str]:
    x, y, radius = _place(point)
    colour = "ours" if point.ours else "other"
    lines = []
    if point.slowest != point.fastest:
        ends = f'x1="{across(point.slowest):.1f}" x2="{across(point.fastest):.1f}"'
        lines.append(f'<line class="{colour}" {ends} y1="{y:.1f}" y2="{y:.1f}" stroke-width="3"/>')
    lines.append(f'<circle class="{colour}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"/>')
    size = "" if point.millions is None else f", {point.millions:g}M"
    # The name stands above, or below where a better one is near.
    near = any(
        0 < y - other_y < 60 and abs(x - other_x) < 250
        for other_x, other_y, _ in map(_place, others)
    )
    at = y + radius + 18 if near else y - radius - 8
    anchor = "start" if x < LEFT + 120 else "end" if x > RIGHT - 120 else "middle"
    aside = {"start": -radius, "end": radius, "middle": 0}[anchor]
    lines.append(_text(x + aside, at, f"{point.name}{size}: {point.score:g}", "text", anchor))
    return lines


def _place(point: Point) -> tuple[float, float, float]:
    """Centre and radius of a disc, in pixels."""
    x = across(math.sqrt(point.slowest * point.fastest))
    return x, up(point.score), 6 + 3 * math.sqrt(point.millions or 0)


def _text(x: float, y: float, text: str, name: str, anchor: str = "start") -> str:
    return f'<text class="{name}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'


def main() -> int:
    """Writes the picture."""
    parser = argparse.ArgumentParser(description="Draws quality against speed.")
    parser.add_argument("output", type=Path, metavar="FILE.svg")
    options = parser.parse_args()
    options.output.write_text(draw(points(PAGE.read_text("utf-8"))), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
