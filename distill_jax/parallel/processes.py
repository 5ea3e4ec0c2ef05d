"""Several processes as one program: JAX's runtime connects them, its coordination service tells
who is missing.

Every process runs the same program; the first (number 0) alone logs, evaluates and writes metrics
and models. All arrays stay where the mesh puts them: only `gathered`, for evaluation and for the
model that leaves the run, brings a whole tree to one host.

If a process dies, a collective fails or JAX's heartbeats notice it, and all others end:
`ends_together` with a line that names the missing host and `EXIT_PEER_LOST`, or JAX's runtime
itself with SIGABRT (exit code 134) where a collective cannot return. Both mean: start the job again,
it goes on from its last checkpoint.

Why the barrier is ours: `jax.experimental.multihost_utils.sync_global_devices` waits in a collective
on the devices, which cannot say who is missing, or end in time if somebody is. The coordination
service knows the names, and its barrier has a deadline; with both, a job of many hosts ends with the
one line that tells where to look.
"""

import contextlib
import dataclasses
import json
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from distill_jax.errors import UserError
from distill_jax.parallel.cluster import given_job, in_cluster

EXIT_PEER_LOST = 75
"""Another process of the job has gone (`EX_TEMPFAIL`: the same job may succeed if started again)."""

HEARTBEAT_SECONDS = 20
"""A process that has not been heard of for so long is dead."""

START_SECONDS = 300
"""How long processes wait for each other at the start."""

CLOCK_SECONDS = 60
"""How far the hosts' clocks may be apart: by them logs and files are put in order, and a cloud's
storage refuses who is far off."""

EVALUATION_SECONDS = 12 * 3600
"""How long the others wait for the first at most, while heartbeats say that it lives."""

_PREFIX = "distill_jax"


class PeersMissing(UserError):
    """Other processes of the job did not come in time: `EXIT_PEER_LOST`, where `UserError` is 2.

    Nobody made a mistake: the same job may succeed if started again.
    """


@dataclasses.dataclass
class _Job:
    """What this process knows of its job."""

    client: Any
    process: int
    hosts: tuple[str, ...]
    calls: int = 0


_job: _Job | None = None


def is_distributed() -> bool:
    """Whether this process is one of several that `initialize` connected."""
    return _job is not None


def is_first() -> bool:
    """Whether this is the process that logs, evaluates and writes."""
    return _job is None or _job.process == 0


def initialize(
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    start_seconds: int = START_SECONDS,
    heartbeat_seconds: int = HEARTBEAT_SECONDS,
) -> None:
    """Connects the processes of a job, if this is one; must come before JAX touches a device.

    The job is described by the three arguments, or else by `JAX_COORDINATOR_ADDRESS`,
    `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID`; or else found by JAX in Slurm's or Open MPI's
    variables, on a TPU virtual machine or in GKE. Where none of these says that there are several
    processes, nothing is done.

    Raises `UserError` if the description is incomplete. If not all processes come in time this one
    ends, with one line and `EXIT_PEER_LOST`; if they count differently, or their clocks are more than
    `CLOCK_SECONDS` apart, with one line and code 2.
    """
    global _job
    environment = os.environ if environment is None else environment
    given = given_job(coordinator_address, num_processes, process_id, environment)
    if given is None and not in_cluster(environment):
        return
    # Only the CPU's backend reads it: a TPU's and a GPU's collectives are their own.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    where = given["coordinator_address"] if given else "found in the environment"
    too_late = (
        f"the processes of the job (coordinator {where}) did not come together within "
        f"{start_seconds} s; check that all hosts are started, with the same coordinator and number "
        "of processes, and can reach it"
    )
    # JAX itself would end this process by a signal and a stack trace.
    timer = threading.Timer(start_seconds, _leave, (too_late,))
    timer.daemon = True
    timer.start()
    try:
        jax.distributed.initialize(
            **(given or {}),
            initialization_timeout=start_seconds + 60,
            heartbeat_timeout_seconds=heartbeat_seconds,
            # The others wait here while the first saves the model.
            shutdown_timeout_seconds=1800,
        )
    except (RuntimeError, ValueError) as error:
        if "DEADLINE_EXCEEDED" in str(error):
            _leave(too_late)
        raise UserError(
            f"the processes of the job (coordinator {where}) cannot be connected: {_first_line(error)}"
        ) from error
    finally:
        timer.cancel()
    from jax._src import distributed  # the coordination service has no public handle

    state = distributed.global_state
    if state.num_processes == 1:
        return
    names = [f"process {number}" for number in range(state.num_processes)]
    _job = _Job(state.client, state.process_id, tuple(names))
    own = f"{state.num_processes} {socket.gethostname()}"
    _job.client.key_value_set(f"{_PREFIX}/host/{state.process_id}", own)
    try:
        barrier("start", start_seconds)
    except PeersMissing as error:
        _leave(str(error))
    with ends_together():
        _job.hosts = tuple(_host(number) for number in range(state.num_processes))
        _check_clocks()


def _host(number: int) -> str:
    """The name of a process's host, once that process is known to count as many processes."""
    assert _job is not None
    key = f"{_PREFIX}/host/{number}"
    count, _, host = _job.client.blocking_key_value_get(key, 10_000).partition(" ")
    if int(count) != len(_job.hosts):
        raise UserError(
            f"process {number} ({host}) is one of {count} processes and process {_job.process} one of "
            f"{len(_job.hosts)}; start all with the same --num_processes"
        )
    return str(host)


def _check_clocks() -> None:
    """Raises `UserError` if a clock is far from the first process's; all come here at the same time."""
    clocks = [float(clock) for clock in _shared("clock", str(time.time()), START_SECONDS)]
    for number, clock in enumerate(clocks):
        ahead = clock - clocks[0]
        if abs(ahead) > CLOCK_SECONDS:
            raise UserError(
                f"the clock of {_name(number)} is {abs(ahead):.0f} s "
                f"{'ahead of' if ahead > 0 else 'behind'} that of {_name(0)}; set the hosts' clocks "
                "(NTP does), and start all processes again"
            )


def _leave(text: str) -> NoReturn:
    print(f"distill-jax: error: {text}", file=sys.stderr, flush=True)
    os._exit(EXIT_PEER_LOST)


def barrier(name: str, seconds: int = START_SECONDS) -> None:
    """Waits until all processes are here. Raises `PeersMissing` naming those that do not come."""
    if _job is None:
        return
    _job.calls += 1
    try:
        _job.client.wait_at_barrier(f"{_PREFIX}/{name}/{_job.calls}", 1000 * seconds)
    except Exception as error:
        raise PeersMissing(
            f"waited {seconds} s at {name!r} for {_missing_in(str(error)) or 'other processes'}; "
            "see the logs there, and start all processes again"
        ) from error


@contextlib.contextmanager
def first_goes_ahead(name: str, seconds: int = EVALUATION_SECONDS) -> Iterator[None]:
    """The first process runs the block alone, then all others: what it leaves on disk they find.

    Every process must come here equally often. Raises `PeersMissing` as `barrier` does.
    """
    if not is_first():
        barrier(name, seconds)
    yield
    if is_first():
        barrier(name, seconds)


def agree(what: str, value: str, seconds: int = START_SECONDS) -> None:
    """Raises `UserError`, in every process, if some process has another value than the first.

    Raises `PeersMissing` if some process gives none in time.
    """
    values = _shared(what, value, seconds)
    for number, other in enumerate(values):
        if other != values[0]:
            raise UserError(
                f"{_name(number)} has another {what} than {_name(0)} ({_different(other, values[0])})"
                "; start all processes with the same command, code and files"
            )


def all_true(what: str, value: bool, seconds: int = START_SECONDS) -> bool:
    """Whether it is so in all processes. Raises `PeersMissing` if some process does not say so in time."""
    return all(other == "True" for other in _shared(what, str(value), seconds))


def from_first(what: str, make: Callable[[], Any]) -> Any:
    """What `make` gives in the first process, as JSON, in all of them."""
    if _job is None:
        return make()
    _job.calls += 1
    key = f"{_PREFIX}/{what}/{_job.calls}"
    if _job.process == 0:
        value = make()
        _job.client.key_value_set(key, json.dumps(value))
        return value
    return json.loads(_job.client.blocking_key_value_get(key, 1000 * EVALUATION_SECONDS))


def gathered(tree: Any, mesh: Mesh) -> Any:
    """A tree of arrays as NumPy arrays in the first process, None in the others.

    One leaf after the other is brought together, so that the devices never hold the whole tree.
    """
    if _job is None:
        return jax.tree.map(np.asarray, tree)
    whole = jax.jit(lambda leaf: leaf, out_shardings=NamedSharding(mesh, PartitionSpec()))

    def gather(leaf: jax.Array) -> np.ndarray | None:
        complete = whole(leaf)
        return np.array(complete.addressable_data(0)) if is_first() else None

    on_first_host = jax.tree.map(gather, tree)
    return on_first_host if is_first() else None


@contextlib.contextmanager
def ends_together() -> Iterator[None]:
    """What stops this process in the block stops the job: nobody waits for the one that is gone.

    With one process exceptions pass. With several this process ends with one line: a mistake of the
    user's with code 2, a missing process with `EXIT_PEER_LOST`, whatever else with a traceback and 1.
    """
    try:
        yield
    except SystemExit:
        raise  # all have agreed to stop
    except BaseException as error:
        if _job is None:
            raise
        if isinstance(error, PeersMissing):
            text, code = str(error), EXIT_PEER_LOST
        elif isinstance(error, UserError):
            text, code = str(error), 2
        elif isinstance(error, KeyboardInterrupt):
            text, code = "interrupted", 130
        elif lost := lost_processes():
            text = (
                f"lost {lost} ({_first_line(error)}); start the job again, it goes on from its last "
                "checkpoint"
            )
            code = EXIT_PEER_LOST
        else:
            sys.excepthook(type(error), error, error.__traceback__)
            text, code = f"{type(error).__name__} in {_name(_job.process)}", 1
        if code != 2 or _job.process == 0:  # of a mistake that all see, one line is enough
            print(f"distill-jax: error: {text}", file=sys.stderr)
        else:
            print(f"distill-jax: error: {_name(_job.process)}: {text}", file=sys.stderr)
        if _job.process == 0:
            time.sleep(1)  # the coordination service is ours: others may still be asking it
        sys.stdout.flush()
        sys.stderr.flush()
        # Python's own way out would wait for the processes that are gone.
        os._exit(code)


def lost_processes(seconds: int = 5) -> str:
    """The processes that do not answer, as `process 1 (host-b)`; empty if all do."""
    assert _job is not None
    try:
        _job.client.wait_at_barrier(f"{_PREFIX}/lost", 1000 * seconds)
    except Exception as error:
        # Without an answer of the service it is the process that runs it which is gone.
        return _missing_in(str(error)) or _name(0)
    return ""


def _shared(what: str, value: str, seconds: int) -> list[str]:
    """Everybody's value, in the order of the processes."""
    if _job is None:
        return [value]
    _job.calls += 1
    key = f"{_PREFIX}/{what}/{_job.calls}"
    _job.client.key_value_set(f"{key}/{_job.process}", value)
    barrier(what, seconds)
    return [
        _job.client.blocking_key_value_get(f"{key}/{number}", 10_000)
        for number in range(len(_job.hosts))
    ]


def _name(process: int) -> str:
    assert _job is not None
    host = _job.hosts[process]
    return host if host.startswith("process ") else f"process {process} ({host})"


def _missing_in(message: str) -> str:
    """The processes that a message of the coordination service names as missing or dead."""
    assert _job is not None
    listed = re.search(r"Some timed out task names:\s*([\d\s,]+)", message)
    numbers = re.findall(r"\d+", listed[1]) if listed else re.findall(r"/task:(\d+)", message)
    missing = sorted({int(number) for number in numbers if int(number) < len(_job.hosts)})
    return ", ".join(_name(number) for number in missing if number != _job.process)


def _different(one: str, other: str) -> str:
    """The first line in which two texts differ."""
    pairs = zip((*one.splitlines(), ""), (*other.splitlines(), ""), strict=False)
    for mine, theirs in pairs:
        if mine != theirs:
            return f"{mine.strip()[:80]!r} instead of {theirs.strip()[:80]!r}"
    return "one is longer"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
