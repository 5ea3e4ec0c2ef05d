"""How a job of several processes is described; what it does is in `test_multihost`."""

import re
from typing import Any

import jax
import numpy as np
import pytest

from distill_jax.errors import UserError
from distill_jax.parallel import processes
from distill_jax.parallel.cluster import given_job, in_cluster
from distill_jax.parallel.mesh import make_mesh
from distill_jax.parallel.processes import _Job, _missing_in

VARIABLES = {
    "JAX_COORDINATOR_ADDRESS": "host-a:1234",
    "JAX_NUM_PROCESSES": "4",
    "JAX_PROCESS_ID": "3",
}
SLURM = {"SLURM_NTASKS": "4", "SLURM_PROCID": "1", "SLURM_JOB_ID": "7"}


def described(
    address: str | None = None,
    count: int | None = None,
    process: int | None = None,
    **environment: str,
) -> Any:
    return given_job(address, count, process, environment)


def test_flags_win_over_variables() -> None:
    assert described() is None
    assert described(**SLURM) is None
    assert described(**VARIABLES) == {
        "coordinator_address": "host-a:1234",
        "num_processes": 4,
        "process_id": 3,
    }
    assert described("b:1", 2, 0, **VARIABLES) == {
        "coordinator_address": "b:1",
        "num_processes": 2,
        "process_id": 0,
    }
    # Slurm says the rest.
    assert described("b:1", **SLURM) == {"coordinator_address": "b:1"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a:1", None, None), "add --num_processes and --process_id"),
        ((None, 2, None), "add --coordinator_address and --process_id"),
        (("a:1", 2, 2), "--process_id is 2 of 2 processes; they are numbered from 0"),
        (("a:1", 2, -1), "--process_id is -1; give a number"),
        (("a", 2, 0), "--coordinator_address is 'a'; give HOST:PORT"),
    ],
)
def test_half_a_description_is_refused(arguments: Any, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        described(*arguments)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        (SLURM, True),
        ({**SLURM, "SLURM_NTASKS": "1"}, False),  # an interactive session
        ({"OMPI_COMM_WORLD_SIZE": "2"}, True),
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, True),
        ({"TPU_WORKER_HOSTNAMES": "a"}, False),
        ({"MEGASCALE_NUM_SLICES": "2", "TPU_WORKER_HOSTNAMES": "a"}, True),
        ({"TPU_WORKER_HOSTNAMES": "a,b", "JAX_PLATFORMS": "cpu"}, False),
    ],
)
def test_clusters_are_recognised(
    environment: dict[str, str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glob.glob", lambda _: [])
    assert in_cluster(environment) == expected


def test_one_process_is_not_connected() -> None:
    processes.initialize(environment={})
    assert processes.is_first() and not processes.is_distributed()
    processes.barrier("nowhere", 1)
    processes.agree("colour", "red")
    assert processes.all_true("sound", True) and not processes.all_true("sound", False)
    assert processes.from_first("number", lambda: 7) == 7
    mesh = make_mesh(fsdp=4)
    array = jax.device_put(np.arange(8.0), jax.NamedSharding(mesh, jax.P("fsdp")))
    np.testing.assert_array_equal(processes.gathered({"a": array}, mesh)["a"], np.arange(8.0))
    with pytest.raises(KeyError), processes.ends_together():
        raise KeyError


TIMED_OUT = """DEADLINE_EXCEEDED: Barrier timed out. Id: b1::0. This usually happens because a task
# of tasks that reached the barrier: 1/3.
The first task at the barrier: 0. Some timed out task names:
1
2


RPC: /xla.coordination.CoordinationService/Barrier"""


@pytest.mark.parametrize(
    ("message", "missing"),
    [
        (TIMED_OUT, "process 1 (b), process 2 (c)"),
        ("tasks in error: /job:jax_worker/replica:0/task:2 (heartbeat timeout)", "process 2 (c)"),
        ("UNAVAILABLE: Socket closed", ""),
    ],
)
def test_missing_processes_are_named(
    message: str, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_job", _Job(None, 0, ("a", "b", "c")))
    assert _missing_in(message) == missing


class Deaf:
    """A coordination service whose barriers nobody else comes to."""

    def key_value_set(self, key: str, value: str) -> None:
        del key, value

    def wait_at_barrier(self, name: str, milliseconds: int) -> None:
        del name, milliseconds
        raise RuntimeError(TIMED_OUT)


@pytest.mark.parametrize(
    "wait",
    [
        lambda: processes.barrier("here", 1),
        lambda: processes.agree("colour", "red", 1),
        lambda: processes.all_true("sound", True, 1),
    ],
)
def test_missing_processes_are_no_mistake_of_the_users(
    wait: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(processes, "_job", _Job(Deaf(), 0, ("a", "b", "c")))
    monkeypatch.setattr("time.sleep", lambda _: None)
    codes: list[int] = []
    monkeypatch.setattr("os._exit", codes.append)
    with processes.ends_together():
        wait()
    assert codes == [processes.EXIT_PEER_LOST] == [75]
    said = capsys.readouterr().err
    assert said.startswith("distill-jax: error: waited 1 s at ") and said.count("\n") == 1
    assert "for process 1 (b), process 2 (c)" in said


def test_a_disagreement_is_a_mistake_of_the_users(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(processes, "_job", _Job(None, 0, ("a", "b")))
    monkeypatch.setattr(processes, "_shared", lambda *_: ["red", "blue"])
    monkeypatch.setattr("time.sleep", lambda _: None)
    codes: list[int] = []
    monkeypatch.setattr("os._exit", codes.append)
    with processes.ends_together():
        processes.agree("colour", "red")
    assert codes == [2]
    assert "process 1 (b) has another colour than process 0 (a)" in capsys.readouterr().err


@pytest.mark.parametrize(("other", "said"), [(-61.5, "62 s behind"), (3600.0, "3600 s ahead of")])
def test_clocks_that_disagree(other: float, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_job", _Job(None, 1, ("a", "b")))
    monkeypatch.setattr(processes, "_shared", lambda *_: ["1000.0", str(1000.0 + other)])
    with pytest.raises(UserError, match=f"clock of process 1 \\(b\\) is {said} that of process 0"):
        processes._check_clocks()


def test_clocks_that_agree_well_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_shared", lambda *_: ["1000.0", "1059.0"])
    processes._check_clocks()
