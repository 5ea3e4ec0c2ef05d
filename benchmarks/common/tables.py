"""What was measured beside what was aimed at, as tables for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

Target = tuple[str, str, str, Mapping[int | None, float]]
"""A name, the faster algorithm, the slower one, and by how much at least: for each batch size, or
for all of them under None."""


def ratios(rows: Sequence[Mapping[str, Any]], targets: Sequence[Target]) -> list[dict[str, Any]]:
    """How many times faster, for every label set and batch size in which both were timed."""
    seconds = {(r["label_set"], r["batch"], r["algorithm"]): r["seconds"] for r in rows}
    cells = dict.fromkeys((r["label_set"], r["batch"]) for r in rows)
    found = []
    for name, faster, slower, wanted in targets:
        for label_set, batch in cells:
            ours = seconds.get((label_set, batch, faster))
            theirs = seconds.get((label_set, batch, slower))
            if ours is None or theirs is None:
                continue
            target = wanted.get(batch, wanted.get(None))
            entry = at_least(name, theirs / ours, target)
            found.append(entry | {"label_set": label_set, "batch": batch})
    return found


def at_least(name: str, value: float, target: float | None) -> dict[str, Any]:
    """A figure that should not be smaller; without a target it is for information."""
    met = None if target is None else value >= target
    return {"what": name, "value": value, "target": target, "bound": "at least", "met": met}


def at_most(name: str, value: float, target: float) -> dict[str, Any]:
    """A figure that should not be larger."""
    return {
        "what": name,
        "value": value,
        "target": target,
        "bound": "at most",
        "met": value <= target,
    }


def show(results: Mapping[str, Any], console: Console | None = None) -> None:
    """Prints everything measured."""
    console = console or Console()
    versions = ", ".join(
        f"{name} {version or '-'}" for name, version in results["versions"].items()
    )
    device = results["device"]
    console.print(f"{device['kind']} ({device['backend']}), {device['cores']} cores; {versions}")
    if "machine" in results:
        _show_machine(results["machine"], console)
    if "throughput" in results:
        _show_rates("random weights", results["throughput"], console)
    if "trained" in results:
        _show_rates("trained teacher, real sentences", results["trained"]["rows"], console)
    if "labelling" in results:
        _show_rates("labelling, trained teacher", results["labelling"], console)
    if "throughput" in results or "trained" in results:
        console.print(
            "FLOP%: of the rate of a large matrix product timed in the same turns; byte%: of the rate at "
            "which weights are read, if every pass reads them. Only what no implementation can avoid counts."
        )
    for entry in results.get("agreement_with_transformers", []):
        console.print(_sentence(entry))
    for entry in results.get("trained", {}).get("pruned", []):
        console.print("pruned against sentscore: " + _sentence(entry))
    if "growth" in results:
        table = _table("pruned, trained teacher", "tags", "nodes", "seconds", "sentences/s")
        for row in results["growth"]:
            rate = f"{row['sentences_per_second']:,.1f}"
            table.add_row(f"{row['tags']}", f"{row['nodes']}", f"{row['seconds']:.3f}", rate)
        console.print(table)
    for part in ("legality", "brute_force"):
        for name, entry in results.get(part, {}).items():
            console.print(f"{part.replace('_', ' ')}, {name}: {_sentence(entry)}")
    for line in results["skipped"]:
        console.print(f"skipped: {line}")
    _show_targets(results["targets"], console)


def _show_machine(machine: Mapping[str, Any], console: Console) -> None:
    table = _table("matrix products", "shape", "GFLOP/s", "GB/s")
    for shape, rates in machine["products"].items():
        table.add_row(shape, f"{rates['flops'] / 1e9:,.1f}", f"{rates['bytes'] / 1e9:,.1f}")
    console.print(table)
    side = machine["square"]
    console.print(f"{side} x {side} x {side}: {machine['matrix_flops'] / 1e9:,.1f} GFLOP/s")
    console.print(f"copies: {machine['copy_bytes'] / 1e9:.1f} GB/s, read and written together")


def _show_rates(title: str, rows: Sequence[Mapping[str, Any]], console: Console) -> None:
    names = ("labels", "batch", "algorithm", "seconds", "sent./s", "FLOP%", "byte%")
    table = _table(f"{title} (hf: transformers; ~: extrapolated)", *names)
    for row in rows:
        about = "~" if row["extrapolated"] else ""
        shares = (row.get("share_of_matrix_rate"), row.get("share_of_weight_reading"))
        table.add_row(
            row["label_set"],
            f"{row['batch']}",
            row["algorithm"],
            f"{about}{row['seconds']:.4g}",
            f"{about}{row['sentences_per_second']:,.2f}",
            *("" if share is None else f"{100 * share:.0f}" for share in shares),
        )
    console.print(table)


def _show_targets(targets: Sequence[Mapping[str, Any]], console: Console) -> None:
    table = _table("targets", "what", "labels", "batch", "measured", "target", "")
    for entry in targets:
        sign = "≥" if entry["bound"] == "at least" else "≤"
        table.add_row(
            entry["what"],
            entry.get("label_set", ""),
            f"{entry.get('batch', '')}",
            f"{entry['value']:.3g}",
            "" if entry["target"] is None else f"{sign} {entry['target']:g}",
            {True: "met", False: "missed", None: ""}[entry["met"]],
        )
    console.print(table)


def _table(title: str, *columns: str) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False, title=title, title_justify="left")
    for name in columns:
        numeric = name not in ("what", "labels", "algorithm", "shape", "")
        table.add_column(name, justify="right" if numeric else "left", no_wrap=name != "what")
    return table


def _sentence(entry: Mapping[str, Any]) -> str:
    def text(value: Any) -> str:
        return f"{value:.2g}" if isinstance(value, float) else f"{value}"

    return ", ".join(f"{name.replace('_', ' ')} {text(value)}" for name, value in entry.items())
