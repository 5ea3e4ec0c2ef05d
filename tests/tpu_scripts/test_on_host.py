"""What runs on a TPU host: a run in the background, its log, its exit code."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.tpu_scripts.fake_cloud import SCRIPTS, add_command, run_script

FAKE_RUN = """#!/usr/bin/env bash
# Says how it was called, then runs until it is told to end.
printf 'argument %s\\n' "$@"
echo "cache ${JAX_COMPILATION_CACHE_DIR-none} other ${OTHER-none}"
trap 'echo saving; exit 143' TERM
echo $$ >"$PIDS"
if [[ ${1-} == at_once ]]; then exit "$2"; fi
while true; do sleep 0.05; done
"""


class Host:
    """A host's home with a checkout that is set up."""

    def __init__(self, directory: Path) -> None:
        self.checkout = directory / "distill_jax"
        shutil.copytree(SCRIPTS / "on_host", self.checkout / "tpu_scripts" / "on_host")
        binaries = self.checkout / ".venv" / "bin"
        binaries.mkdir(parents=True)
        add_command(binaries, "distill-jax", FAKE_RUN)
        add_command(binaries, "python", FAKE_RUN)
        commands = directory / "commands"
        commands.mkdir()
        self.calls = directory / "calls"
        for name in ("gcsfuse", "sudo"):
            add_command(commands, name, f'#!/bin/sh\necho {name} "$@" >>{self.calls}\n')
        add_command(commands, "mountpoint", "#!/bin/sh\nexit 1\n")
        self.environment = {
            "PATH": f"{commands}:{os.environ['PATH']}",
            "HOME": str(directory),
            "PIDS": str(directory / "pid"),
        }
        self.run = directory / "distill_jax_run"

    def script(self, name: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        path = self.checkout / "tpu_scripts" / "on_host" / name
        return run_script(path, *arguments, environment=self.environment | more)

    def start(self, *arguments: str, **more: str) -> int:
        """The process id of the run that was started."""
        done = self.script("start.sh", *arguments, **more)
        assert done.returncode == 0, done.stderr
        assert done.stdout == "distill-jax run: started\n"
        pid = self.directory_file("pid")
        return int(pid)

    def directory_file(self, name: str) -> str:
        path = self.checkout.parent / name
        wait_for(lambda: path.exists() and path.read_text().strip() != "")
        return path.read_text().strip()

    def status(self) -> str:
        return self.script("status.sh").stdout.strip().removeprefix("distill-jax run: ")


def wait_for(condition: object, seconds: float = 30) -> None:
    """Waits until it is true; fails if it never is."""
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_run_in_the_background(host: Host) -> None:
    assert host.status() == "none"
    pid = host.start("train", "--gin.MODEL_DIR='/data/a b'")
    assert host.status() == "running"
    again = host.script("start.sh", "train")
    assert (again.returncode, again.stdout) == (0, "distill-jax run: running already\n")
    assert os.getsid(pid) != os.getsid(0)  # no terminal takes it along
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: host.status() == "exit 143")
    log = (host.run / "log").read_text()
    assert "argument train\nargument --gin.MODEL_DIR='/data/a b'\n" in log and "saving" in log
    assert not host.calls.exists()  # nothing to mount


def test_sigterm_to_all_as_when_the_machine_stops(host: Host) -> None:
    pid = host.start("train")
    os.killpg(os.getpgid(pid), signal.SIGTERM)
    wait_for(lambda: host.status() == "exit 143")


def test_killed_with_all_that_belongs_to_it(host: Host) -> None:
    pid = host.start("train")
    os.killpg(os.getpgid(pid), signal.SIGKILL)
    wait_for(lambda: host.status() == "lost")


def test_the_log_goes_on_and_the_exit_code_is_the_last(host: Host) -> None:
    host.start("at_once", "2")
    wait_for(lambda: host.status() == "exit 2")
    host.start("at_once", "0")
    wait_for(lambda: host.status() == "exit 0")
    log = (host.run / "log").read_text()
    assert log.index("distill-jax at_once 2") < log.index("distill-jax at_once 0")


def test_buckets_are_mounted_and_named_as_files(host: Host) -> None:
    host.start(
        "at_once",
        "0",
        "--gin.INITIAL='gs://b/a 1'",
        JAX_COMPILATION_CACHE_DIR="gs://b/xla",
        OTHER="x",
    )
    wait_for(lambda: host.status() == "exit 0")
    log = (host.run / "log").read_text()
    assert "argument --gin.INITIAL='/gs/b/a 1'" in log
    assert "cache /gs/b/xla other x" in log
    calls = host.calls.read_text().splitlines()
    assert calls[0] == "sudo mkdir -p /gs"
    assert calls[-1].startswith("gcsfuse ") and calls[-1].endswith(" /gs")
    assert {"--metadata-cache-ttl-secs=0", "--implicit-dirs"} <= set(calls[-1].split())


def test_a_host_that_is_not_set_up(host: Host) -> None:
    (host.checkout / ".venv" / "bin" / "distill-jax").unlink()
    done = host.script("start.sh", "train")
    assert done.returncode == 2 and "run setup.sh first" in done.stderr


def test_a_run_of_t5x(host: Host) -> None:
    (host.checkout / "t5x").mkdir()
    pid = host.start("--trainer", "t5x", "train", "--gin.MODEL_DIR='gs://b/run'")
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: host.status() == "exit 143")
    arguments = ("-m", "distill_jax.interop.t5x.launch", "train", "--gin.MODEL_DIR='/gs/b/run'")
    log = (host.run / "log").read_text()
    assert "".join(f"argument {argument}\n" for argument in arguments) in log


def test_a_host_without_t5x(host: Host) -> None:
    done = host.script("start.sh", "--trainer", "t5x", "train")
    assert done.returncode == 2 and "run setup.sh --t5x FOLDER first" in done.stderr


VENV = """#!/usr/bin/env bash
echo "$(basename "$0")" "$@" >>{calls}
if [[ "$*" == *venv* ]]; then
  {refuse}
  mkdir -p .venv/bin
  printf '#!/bin/sh\\necho venv-python "$@" "$PIP_CONSTRAINT" >>{calls}\\n' >.venv/bin/python
  printf '#!/bin/sh\\necho distill-jax "$@" >>{calls}\\n' >.venv/bin/distill-jax
  cp .venv/bin/python .venv/bin/pip
  chmod +x .venv/bin/*
fi
"""


@pytest.mark.parametrize("has_python", [True, False])
def test_installing(host: Host, has_python: bool) -> None:
    """With a Python 3.11 of the host's, or else with one that uv brings; once made, it is kept."""
    shutil.rmtree(host.checkout / ".venv")
    commands = Path(host.environment["PATH"].partition(":")[0])
    text = VENV.replace("{calls}", str(host.calls))
    add_command(commands, "python3.11", text.replace("{refuse}", ":" if has_python else "exit 1"))
    add_command(commands, "python3", text.replace("{refuse}", ":"))
    for _ in range(2):
        done = host.script("install.sh", "tpu,train")
        assert done.returncode == 0, done.stderr
    calls = host.calls.read_text().splitlines()
    made = ["python3.11 -m venv .venv"]
    if not has_python:
        made += [
            "python3 -m pip install --quiet --user uv",
            "python3 -m uv venv --quiet --seed --clear --python 3.11 .venv",
        ]
    installed = [
        "venv-python -m pip install --quiet --disable-pip-version-check -c constraints.txt"
        " -e .[tpu,train] constraints.txt",
        "distill-jax --version",
    ]
    assert calls == [*made, *installed, *installed]


def test_installing_with_checkouts_of_t5x(host: Host) -> None:
    """They are on the path as they are, and t5x is imported once, to see that it does."""
    packages = host.checkout.parent / "packages"
    packages.mkdir()
    (host.checkout / "t5x").mkdir()
    python = (
        f'#!/bin/sh\necho "$@" >>{host.calls}\ncase $2 in *sysconfig*) echo {packages};; esac\n'
    )
    for name in ("python", "pip", "distill-jax"):
        add_command(host.checkout / ".venv" / "bin", name, python)
    done = host.script("install.sh", "tpu,train")
    assert done.returncode == 0, done.stderr
    assert (packages / "t5x_checkouts.pth").read_text().splitlines() == [
        str(host.checkout / "t5x" / name) for name in ("t5x", "airio", "jestimator")
    ]
    calls = host.calls.read_text()
    assert "-c constraints.txt cached_property clu fiddle tensorboard\n" in calls
    assert "-c import t5x.models\n" in calls
