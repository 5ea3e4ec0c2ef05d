#!/usr/bin/env python3
"""Fills in the jobset.yaml beside it, and prints it.

    render.py OPTIONS -- train --gin_file=F ... | kubectl apply -f -

Needs Python's standard library only. gs://BUCKET/... in the command and in --env becomes /gs/BUCKET/...,
where Cloud Storage FUSE mounts the bucket.
"""

import argparse
import json
import math
import re
import string
import sys
from pathlib import Path

ACCELERATORS = {
    "v4": "tpu-v4-podslice",
    "v5e": "tpu-v5-lite-podslice",
    "v5p": "tpu-v5p-slice",
    "v6e": "tpu-v6e-slice",
}
"""GKE's names of the chips, by those that `distill-jax compile --topology` uses."""

PROGRAMS = {
    "distill-jax": (["distill-jax"], ("train",)),
    "t5x": (["python", "-m", "distill_jax.interop.t5x.launch"], ("train", "eval", "infer")),
}
"""What a container runs, and the commands that all hosts run together."""

MOUNT_OPTIONS = "implicit-dirs,rename-dir-limit=200000,metadata-cache:ttl-secs:0"
"""Checkpoints are renamed when they are whole, and what a host writes others must see at once."""


def main() -> None:
    """Prints the manifest; ends with 2 and one line if an option is wrong."""
    parser = argparse.ArgumentParser(prog="render.py", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--name", required=True)
    parser.add_argument(
        "--topology", required=True, metavar="CHIP:SHAPE", help="v5e:4x4, of a slice"
    )
    parser.add_argument("--image", required=True, help="built from the Dockerfile beside")
    parser.add_argument(
        "--trainer",
        choices=sorted(PROGRAMS),
        default="distill-jax",
        help="t5x: in an image of Dockerfile.t5x (default: %(default)s)",
    )
    parser.add_argument("--slices", type=int, default=1, metavar="N")
    parser.add_argument("--spot", action="store_true", help="on spot nodes")
    parser.add_argument("--service_account", default="default", metavar="NAME")
    parser.add_argument("--max_restarts", type=int, default=100, metavar="N")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- train --gin_file=F ...")
    options = parser.parse_args()
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    program, commands = PROGRAMS[options.trainer]
    if not command or command[0] not in commands:
        parser.error(
            f"after -- comes a command of {options.trainer} that all hosts run together: "
            f"{' or '.join(commands)} ..."
        )
    if not re.fullmatch(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", options.name):
        parser.error(
            f"--name is {options.name!r}; use lower-case letters, digits and inner hyphens"
        )
    if options.slices < 1:
        parser.error(f"--slices is {options.slices}; give a number from 1")
    for variable in options.env:
        if not re.match(r"[A-Za-z_]\w*=", variable):
            parser.error(f"--env is {variable!r}; give NAME=VALUE")
    try:
        accelerator, shape, hosts, chips = slice_of(options.topology)
    except ValueError as error:
        parser.error(str(error))
    if options.slices > 1 and hosts == 1:
        parser.error(
            f"--slices is {options.slices} and {options.topology} one host; GKE joins slices of "
            "several hosts only"
        )
    selector = {
        "cloud.google.com/gke-tpu-accelerator": accelerator,
        "cloud.google.com/gke-tpu-topology": shape,
    }
    if options.spot:
        selector["cloud.google.com/gke-spot"] = "true"
    buckets = sorted(set(re.findall(r"gs://([^/'\"\s]+)", " ".join([*command, *options.env]))))
    template = string.Template((Path(__file__).parent / "jobset.yaml").read_text(encoding="utf-8"))
    print(
        template.substitute(
            NAME=options.name,
            PROGRAM=json.dumps(program),
            IMAGE=json.dumps(options.image),
            SLICES=options.slices,
            HOSTS=hosts,
            CHIPS=chips,
            MAX_RESTARTS=options.max_restarts,
            SERVICE_ACCOUNT=json.dumps(options.service_account),
            NODE_SELECTOR=json.dumps(selector),
            ARGUMENTS=json.dumps([as_value(argument) for argument in command]),
            ENVIRONMENT=json.dumps(
                [
                    {"name": name, "value": as_value(value)}
                    for name, _, value in (variable.partition("=") for variable in options.env)
                ]
            ),
            USES_BUCKETS=str(bool(buckets)).lower(),
            VOLUMES=json.dumps([volume(bucket) for bucket in buckets]),
            MOUNTS=json.dumps(
                [
                    {"name": volume(bucket)["name"], "mountPath": f"/gs/{bucket}"}
                    for bucket in buckets
                ]
            ),
        ),
        end="",
    )


def slice_of(topology: str) -> tuple[str, str, int, int]:
    """Accelerator, shape, hosts and chips a host. Raises `ValueError` if there is no such topology."""
    chip, _, shape = topology.partition(":")
    dimensions = 2 if chip in ("v5e", "v6e") else 3
    if chip not in ACCELERATORS or not re.fullmatch(
        rf"[1-9]\d*(x[1-9]\d*){{{dimensions - 1}}}", shape
    ):
        raise ValueError(
            f"--topology is {topology!r}; give the chip ({', '.join(ACCELERATORS)}) and the shape of a "
            "slice, as in v5e:4x4 or v5p:2x2x2"
        )
    chips = math.prod(map(int, shape.split("x")))
    # A host has four chips; the smallest slices of v5e and v6e are one host of 1, 4 or 8.
    a_host = chips if dimensions == 2 and chips in (1, 8) else 4
    if chips % a_host:
        raise ValueError(f"--topology is {topology!r}, of {chips} chips; a host has {a_host}")
    return ACCELERATORS[chip], shape, chips // a_host, a_host


def as_value(text: str) -> str:
    """Kubernetes replaces `$(NAME)` in arguments and variables; `$$(NAME)` stays."""
    return text.replace("gs://", "/gs/").replace("$(", "$$(")


def volume(bucket: str) -> dict[str, object]:
    """A bucket as a volume of the pod."""
    return {
        "name": "gs-" + re.sub(r"[^a-z0-9]", "-", bucket)[:60].rstrip("-"),
        "csi": {
            "driver": "gcsfuse.csi.storage.gke.io",
            "volumeAttributes": {"bucketName": bucket, "mountOptions": MOUNT_OPTIONS},
        },
    }


if __name__ == "__main__":
    sys.exit(main())
