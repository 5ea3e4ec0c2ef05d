"""The figure of a generation study."""

import itertools
import os
from collections.abc import Sequence

from distill_jax.study.generation.pools import REAL
from distill_jax.study.generation.tables import is_of_pool, pools_of, variants
from distill_jax.study.grid import ALL_FILTERS, Generated
from distill_jax.study.paper import display_name
from distill_jax.study.plots import (
    LINE_COLOURS,
    TEXT,
    add_legend,
    draw_levels,
    draw_line,
    f1_of,
    panels_of,
    save_figure,
)
from distill_jax.study.results import Row

_WIDTH = 0.4
"""Of the points of one size, which stand beside each other: their bars would hide one another."""
_COLOURS = (*LINE_COLOURS, "#b0893a", "#c25b7a")


def draw_pools(rows: Sequence[Row], path: str | os.PathLike[str]) -> None:
    """F1 against the sentences of a pool, a panel a data set, a line a pool (its own tags: dashed, hollow).

    Of several filters those of `all`, else the first; of several λ the largest. Points are means over seeds,
    bars standard deviations. All rows are of one size. Raises `UserError` if matplotlib is not installed.
    """
    figure, panels = panels_of(rows, 4.2, 3.8)
    pools = _shown(pools_of(rows))
    generators = dict.fromkeys(pool.generator for pool in pools)
    colours = dict(zip(generators, itertools.cycle(_COLOURS)))
    silver = sorted({size for _, size, _ in variants(rows)}, key=int)
    for number, (dataset, axes) in enumerate(panels):
        own = [row for row in rows if row.dataset == dataset]
        for place, pool in enumerate(pools):
            beside = _WIDTH * ((place + 0.5) / len(pools) - 0.5)
            weights = [kl for each, _, kl in variants(own) if each == pool]
            points = [
                (at + beside, f1_of(own, is_of_pool(pool, size, max(weights))))
                for at, size in enumerate(silver)
                if weights
            ]
            draw_line(
                axes,
                points,
                color=colours[pool.generator],
                linestyle="--" if pool.tags == "own" else "-",
                marker="s" if pool.generator == REAL else "o",
                markerfacecolor="none" if pool.tags == "own" else colours[pool.generator],
                label=pool.generator + (", own tags" if pool.tags == "own" else ""),
            )
        draw_levels(axes, own)
        axes.set_xticks(range(len(silver)), [f"{int(size):,}" for size in silver])
        axes.set_xlim(-0.35, max(len(silver), 1) - 0.65)
        axes.set_xlabel("sentences of the pool", color=TEXT)
        axes.set_title(display_name(dataset), color=TEXT, fontsize=11)
        if number == 0:
            axes.set_ylabel("F1 on the test split (%)", color=TEXT)
    add_legend(figure, panels)
    save_figure(figure, path)


def _shown(pools: Sequence[Generated]) -> list[Generated]:
    """Of each generator and kind of tags one set of filters."""
    chosen: dict[tuple[str, str], Generated] = {}
    for pool in pools:
        key = pool.generator, pool.tags
        if key not in chosen or pool.filters == ALL_FILTERS:
            chosen[key] = pool
    return list(chosen.values())
