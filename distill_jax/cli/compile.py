"""`distill-jax compile`: what a run would need and cost on devices that need not be there."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import Any

from distill_jax.cli.decoder_options import positive
from distill_jax.cli.output import check_output_options, text_output
from distill_jax.errors import UserError

_DESCRIPTION = """\
Compiles the training (or labelling) step of a run for a TPU slice, without a TPU and without
data or weights, and says whether it fits the chips' memory and how fast it is at best.
Needs libtpu (pip install 'distill_jax[tpu]') unless the topology is cpu or gpu.
"""


def add_commands(commands: Any) -> None:
    """Adds the command of this module to the parser."""
    parser = commands.add_parser(
        "compile",
        help="what a run would need and cost on a TPU slice, without one",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--topology",
        required=True,
        metavar="NAME",
        help="v4:2x2x2, v5e:4x4, v5p:2x2x4, v6e:2x4, …, or cpu or gpu for what is here",
    )
    parser.add_argument(
        "--slices", type=positive, metavar="N", help="slices, joined by the data-centre network"
    )
    parser.add_argument(
        "--gin_file", action="append", default=[], metavar="FILE", help="may be given several times"
    )
    parser.add_argument(
        "--json", metavar="FILE", help="also write all figures; - for standard output"
    )
    parser.add_argument(
        "--search", action="store_true", help="try mesh shapes and batch sizes, rank those that fit"
    )
    parser.add_argument(
        "--max_tries", type=positive, default=12, metavar="N", help="of --search; default: 12"
    )
    parser.add_argument(
        "--batch_sizes",
        type=positive,
        nargs="+",
        metavar="N",
        help="of --search; default: 1/2 to 4 times",
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    if not options.gin_file:
        raise UserError("compile needs --gin_file; see gin/runs/pod_*.gin")
    check_output_options(options, "json")
    from distill_jax.jobs.early import check_files

    check_files(options.gin_file, options.gin_bindings)
    import jax

    # Before any device is looked for: with libtpu installed JAX would try to open a TPU here.
    if options.topology != "gpu":
        jax.config.update("jax_platforms", "cpu")
    # Else compile seconds would be those of reading a cache.
    jax.config.update("jax_enable_compilation_cache", False)
    from distill_jax.planning.compilation import compile_plan
    from distill_jax.planning.plan import changed, placement_of, plan_run, run_to_plan
    from distill_jax.planning.topology import topology_devices

    devices = topology_devices(options.topology, options.slices or 1)
    run, shapes = run_to_plan(options.gin_file, options.gin_bindings)
    if options.slices is not None:
        run = changed(run, dataclasses.replace(placement_of(run), num_slices=options.slices))
    if options.search:
        _search(options, run, shapes, devices)
        return
    plan = plan_run(run, shapes, devices)
    _say(f"compiling {plan.name} for {options.topology} ({len(devices)} devices)")
    report = compile_plan(plan)
    title = options.topology if not options.slices else f"{options.slices} x {options.topology}"
    if options.json != "-":
        print("\n".join(report_lines(report, title)))
    _write(options.json, {"topology": options.topology, **report.as_json()})
    if report.fits is False:
        raise UserError("; would help: ".join([f"{title}: {report.misfit}", *report.advice[:1]]))


def _search(options: argparse.Namespace, run: Any, shapes: Any, devices: Sequence[Any]) -> None:
    from distill_jax.planning.search import search

    ranking = search(
        run,
        shapes,
        devices,
        batch_sizes=options.batch_sizes,
        max_tries=options.max_tries,
        say=_say,
    )
    if options.json != "-":
        print("\n".join(ranking_lines(ranking)))
    _write(
        options.json,
        {"topology": options.topology, "ranking": [report.as_json() for report in ranking]},
    )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _write(path: str | None, content: Any) -> None:
    if path is not None:
        with text_output(path) as file:
            file.write(json.dumps(content, indent=2) + "\n")


def report_lines(report: Any, topology: str) -> list[str]:
    """A report as a table for people; figures are of one device."""
    mesh = " x ".join(f"{axis} {size}" for axis, size in report.mesh.items() if size > 1) or "1"
    lines = [
        f"{report.name} on {topology}: {report.devices} x {report.device_kind}, mesh {mesh}, "
        f"batch {report.examples}"
    ]
    lines += [f"  {name:<34}{count:>16,}" for name, count in report.parameters.items()]
    lines += ["memory a device"]
    lines += [
        f"  {name:<34}{_bytes(size)}" for name, size in report.memory.items() if name != "total"
    ]
    lines += [f"  {'total':<34}{_bytes(report.memory['total'])}{_of_hbm(report)}"]
    lines += ["of which"]
    lines += [f"  {name:<34}{_bytes(size)}" for name, size in report.contributors.items()]
    lines += ["work a device and step"]
    lines += [
        f"  {'FLOPs':<34}{_flops(report.flops)}",
        f"  {'of the model (nothing twice)':<34}{_flops(report.model_flops)}",
    ]
    if report.traffic is not None:
        lines += [f"  {'bytes moved':<34}{_bytes(report.traffic.memory)}"]
        if report.traffic.collectives:
            lines += [f"{'collectives':<24}{'count':>8}{'bytes':>18}{'sent':>18}"]
        for kind, one in sorted(report.traffic.collectives.items()):
            sent = one.sent + one.sent_between_slices
            lines += [f"  {kind:<22}{one.count:>8.0f}{_bytes(one.bytes, 14)}{_bytes(sent, 14)}"]
            if one.sent_between_slices:
                lines += [f"    {'between slices':<44}{_bytes(one.sent_between_slices, 14)}"]
    elif report.fits:
        lines += ["bytes moved and collectives: not known, for JAX cannot read this program back"]
    lines += _time_lines(report)
    lines += [f"{'compiled in':<36}{report.compile_seconds:>12.1f} s"]
    lines += [_verdict(report)]
    lines += [f"  would help: {line}" for line in report.advice]
    return lines


def _time_lines(report: Any) -> list[str]:
    if not report.seconds:
        return ["no roofline: what this device can do is not in the table (train/hardware.py)"]
    names = {
        "compute": "arithmetic at the chip's peak",
        "memory": "memory at its bandwidth",
        "network": "network at its bandwidth",
    }
    lines = ["roofline"]
    lines += [
        f"  {names[name]:<34}{1000 * seconds:>12.2f} ms" for name, seconds in report.seconds.items()
    ]
    if report.mfu is None:
        return lines
    bound = max(report.seconds, key=report.seconds.get)
    return [
        *lines,
        f"  {'step, at least':<34}{1000 * report.step_seconds:>12.2f} ms  ({bound})",
        f"  {'examples/s, at most':<34}{report.examples_per_second:>12.1f}",
        f"  {'MFU, at most':<34}{100 * report.mfu:>12.1f} %",
    ]


def _verdict(report: Any) -> str:
    if report.fits is None:
        return "fits: not known, for this device's memory is not in the table"
    total, hbm = report.memory["total"], report.hbm
    if report.fits:
        return f"fits: {(hbm - total) / 2**30:.1f} GiB a device are left"
    return report.misfit


def _of_hbm(report: Any) -> str:
    if report.hbm is None:
        return ""
    share = report.memory["total"] / report.hbm
    return f"  of {report.hbm / 2**30:.2f} GiB ({100 * share:.0f}%)"


def _bytes(size: float, width: int = 12) -> str:
    for unit, one in (("GiB", 2**30), ("MiB", 2**20)):
        if size >= one / 10:
            return f"{size / one:>{width}.2f} {unit}"
    return f"{size / 2**10:>{width}.2f} KiB"


def _flops(count: float) -> str:
    unit, one = ("T", 1e12) if count >= 1e11 else ("G", 1e9)
    return f"{count / one:>12.3f} {unit}"


def ranking_lines(reports: Sequence[Any]) -> list[str]:
    """A search's result, the best first."""
    lines = [
        f"{'data':>5}{'fsdp':>6}{'model':>6}{'batch':>7}{'GiB':>8}{'step ms':>10}{'examples/s':>12}"
        f"{'MFU %':>7}  bound by"
    ]
    for report in reports:
        row = f"{report.mesh['data']:>5}{report.mesh['fsdp']:>6}{report.mesh['model']:>6}"
        row += f"{report.examples:>7}{report.memory['total'] / 2**30:>8.2f}"
        if report.step_seconds is not None and report.mfu is not None:
            row += f"{1000 * report.step_seconds:>10.2f}{report.examples_per_second:>12.1f}"
            row += f"{100 * report.mfu:>7.1f}  {max(report.seconds, key=report.seconds.get)}"
        lines.append(row)
    return lines
