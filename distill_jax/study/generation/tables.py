"""Tables of a generation study: F1 of every pool, gains over gold alone, and what the pools are."""

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from distill_jax.study.generation.facts import PoolFacts
from distill_jax.study.generation.pools import REAL
from distill_jax.study.grid import Cell, Generated
from distill_jax.study.groups import (
    Match,
    datasets,
    is_distilled,
    is_gold_only,
    is_teacher,
    sizes,
    teacher_title,
)
from distill_jax.study.models_table import NONE, Line, ModelsTable, Table, markdown_table
from distill_jax.study.paper import display_name
from distill_jax.study.results import Row
from distill_jax.study.tables import Part, losses_of, measured_over

Facts = Mapping[Cell, Sequence[PoolFacts]]
"""What is known of the pools of each cell."""

_CORNER = ["pool", "tags", "filters", "sentences", "λ"]


def generation_introduction(rows: Sequence[Row]) -> str:
    """What the numbers are."""
    return (
        f"{measured_over(rows)}, which draw the subset, the "
        "pools and the models' randomness alike; models are chosen on the dev sentences given alone, and "
        "nothing is learnt from the test split. Every BiLSTM learns from the gold sentences and so many of a "
        "pool; with the teacher's labels, or with the tags that the pool was made with (own). The pool "
        "`real` is of sentences that there are, without their tags. "
        f"{losses_of(rows)}."
    )


def generation_parts(rows: Sequence[Row], facts: Facts) -> list[Part]:
    """All tables, those of one size together."""
    found = []
    for size in sizes(rows):
        of_size = [row for row in rows if row.size == size]
        gold, dev = size.split("/")
        title = f"{gold} gold and {dev} dev sentences"
        found.append(Part(title, 2, "", _scores(of_size), size, "models"))
        if pools_of(of_size):
            found.append(
                Part(
                    "Gain over gold alone",
                    3,
                    "Differences in F1, seed by seed, from the BiLSTM of the gold sentences alone.",
                    _gains(of_size),
                    size,
                    "models",
                )
            )
        if shares := _shares(of_size):
            text = (
                "The gain over gold alone as a share of that of as many real sentences with the teacher's "
                "labels (100: as much), of means over seeds."
            )
            found.append(Part("Share of the real pool's gain", 3, text, shares, size, "models"))
        own = {cell: each for cell, each in facts.items() if str(cell.size) == size and each}
        if own:
            text = (
                "Sums and means over seeds. New: mentions that the teacher sees and no gold sentence has. "
                "Alike: sentences whose own tags are the teacher's. In test: 4-grams that occur in the test "
                "split."
            )
            found.append(Part("Pools", 3, text, _pools(own), size, "models"))
    return found


def generation_markdown(rows: Sequence[Row], facts: Facts) -> str:
    """All tables as Markdown."""
    blocks = ["# Generation study", generation_introduction(rows)]
    for part in generation_parts(rows, facts):
        blocks.append(f"{'#' * part.level} {part.title}")
        blocks += [part.text] if part.text else []
        blocks.append(markdown_table(part.table))
    return "\n\n".join(blocks) + "\n"


def pools_of(rows: Iterable[Row]) -> list[Generated]:
    """The pools that lines are of, in their order."""
    found = (of_row(row) for row in rows)
    return list(dict.fromkeys(each for each in found if each is not None))


def of_row(row: Row) -> Generated | None:
    """The pool that a line is of; None of one without."""
    if row.generator is None or row.filters is None or row.tags is None:
        return None
    return Generated(row.generator, row.filters, row.tags)


def is_of_pool(pool: Generated, silver: str, kl_weight: float) -> Match:
    """A BiLSTM of so much of a pool."""
    return lambda row: of_row(row) == pool and row.silver == silver and row.kl_weight == kl_weight


def variants(rows: Iterable[Row]) -> list[tuple[Generated, str, float]]:
    """Each pool with the sizes and λ there are of it, in the order of the lines."""
    found: dict[tuple[Generated, str, float], None] = {}
    for row in rows:
        pool = of_row(row)
        if pool is not None and row.kl_weight is not None:
            found[pool, row.silver, row.kl_weight] = None
    return list(found)


def _scores(rows: Sequence[Row]) -> Table:
    table = ModelsTable(rows)
    table.add([teacher_title(rows), NONE, NONE, NONE, NONE], is_teacher)
    table.add(["gold alone", NONE, NONE, "0", "0"], is_gold_only)
    for weight in sorted({row.kl_weight for row in rows if row.silver == "0" and row.kl_weight}):
        titles = ["gold alone", "teacher", NONE, "0", f"{weight:g}"]
        table.add(titles, is_distilled("0", weight))
    for pool, silver, weight in variants(rows):
        match = is_of_pool(pool, silver, weight)
        table.add(_titles(rows, pool, silver, weight), match)
    return table.table(_CORNER)


def _titles(rows: Sequence[Row], pool: Generated, silver: str, weight: float) -> list[str]:
    """What a line is called by; where a pool has fewer sentences than were asked for, how many."""
    of_pool = is_of_pool(pool, silver, weight)
    mean = round(statistics.fmean(row.silver_sentences for row in rows if of_pool(row)))
    wanted = f"{int(silver):,}"
    count = wanted if mean == int(silver) else f"{wanted} ({mean:,})"
    return [pool.generator, pool.tags, pool.filters, count, f"{weight:g}"]


def _gains(rows: Sequence[Row]) -> Table:
    table = ModelsTable(rows)
    for pool, silver, weight in variants(rows):
        match = is_of_pool(pool, silver, weight)
        table.add_difference(_titles(rows, pool, silver, weight), match, is_gold_only)
    return table.table(_CORNER)


def _shares(rows: Sequence[Row]) -> Table | None:
    """None where there is no real pool to compare with."""
    names = datasets(rows)
    real: dict[str, tuple[float, list[float | None]]] = {}
    for pool, silver, weight in variants(rows):
        if pool.generator == REAL and weight >= real.get(silver, (0.0, []))[0]:
            real[silver] = weight, _gain(rows, names, is_of_pool(pool, silver, weight))
    lines = []
    for pool, silver, weight in variants(rows):
        if pool.generator == REAL or silver not in real:
            continue
        theirs = real[silver][1]
        own = _gain(rows, names, is_of_pool(pool, silver, weight))
        cells = [_share(each, of) for each, of in zip(own, theirs, strict=True)]
        mean = [_share(_sum(own), _sum(theirs))] if len(names) > 1 else []
        lines.append(Line([*_titles(rows, pool, silver, weight), *cells, *mean]))
    if not lines:
        return None
    head = [*_CORNER, *map(display_name, names), *(["mean"] if len(names) > 1 else [])]
    return Table(head, lines, titles=len(_CORNER))


def _gain(rows: Sequence[Row], names: Sequence[str], match: Match) -> list[float | None]:
    """The mean gain over gold alone on each data set, of the seeds that have both."""
    gains: list[float | None] = []
    for name in names:
        ours, gold = (
            {row.seed: row.f1 for row in rows if row.dataset == name and one(row)}
            for one in (match, is_gold_only)
        )
        both = ours.keys() & gold.keys()
        gains.append(statistics.fmean(ours[s] - gold[s] for s in both) if both else None)
    return gains


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _share(gain: float | None, of: float | None) -> str:
    """In percent; nothing where real sentences gain nothing."""
    return NONE if gain is None or of is None or of <= 0 else f"{100 * gain / of:.0f}"


def _pools(facts: Facts) -> Table:
    head = ["data set", "pool", "drawn", "accepted", "rejected", "distinct-2", "Self-BLEU"]
    head += ["new %", "sure %", "alike %", "in test %"]
    lines = []
    for name in dict.fromkeys(cell.dataset for cell in facts):
        cells = [each for cell, each in facts.items() if cell.dataset == name]
        for generator in dict.fromkeys(pool.generator for each in cells for pool in each):
            of_seeds = [pool for each in cells for pool in each if pool.generator == generator]
            lines.append(Line([display_name(name), generator, *_pool_cells(of_seeds)]))
    return Table(head, lines, titles=2)


def _pool_cells(pools: Sequence[PoolFacts]) -> list[str]:
    counts = Counter[str]()
    for pool in pools:
        counts.update(pool.counts)
    drawn, accepted = sum(counts.values()), counts.pop("accepted", 0)
    rejected = ", ".join(f"{name} {count:,}" for name, count in counts.items() if count)
    diverse = [pool.figures["diversity"] for pool in pools]
    in_test = [
        pool.figures["held_out"]["test"]["share_of_4grams"]
        for pool in pools
        if "test" in pool.figures.get("held_out", {})
    ]
    return [
        f"{drawn:,}",
        f"{accepted:,}",
        rejected or NONE,
        _mean([each["distinct_2"] for each in diverse]),
        _mean([each["self_bleu"] for each in diverse]),
        *(
            _mean([None if share is None else 100 * share for share in shares], 1)
            for shares in (
                [pool.new_mentions for pool in pools],
                [pool.sure for pool in pools],
                [pool.agreement for pool in pools],
                in_test,
            )
        ),
    ]


def _mean(values: Sequence[float | None], places: int = 2) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.fmean(known):.{places}f}" if known else NONE
