"""A `gcloud` for tests: writes down what it is called with, and plays a queued resource's life."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[2] / "tpu_scripts"

_GCLOUD = """#!{python} -IS
import json, sys
from pathlib import Path

here = Path({here!r})
arguments = sys.argv[1:]
with open(here / "calls", "a") as calls:  # one write: slices are called at the same time
    calls.write(json.dumps(arguments) + "\\n")
life = json.loads((here / "life").read_text())


def end(code):
    (here / "life").write_text(json.dumps(life))
    sys.exit(code)


verb = arguments[3]
if verb == "describe":
    states = life["states"]
    state = states.pop(0) if len(states) > 1 else states[0]
    if state == "ABSENT":
        sys.exit("ERROR: (gcloud.compute.tpus.queued-resources.describe) NOT_FOUND: Resource not found")
    if state == "UNREACHABLE":
        sys.exit("ERROR: gcloud crashed (ConnectionError)")
    print("WARNING: of another kind", file=sys.stderr)
    print(state)
elif verb == "delete":
    life["states"] = ["ABSENT"]
elif verb == "create":
    life["states"] = life["after_create"]
elif verb == "ssh" and "status.sh" in arguments[-1]:
    report = life["reports"].pop(0) if len(life["reports"]) > 1 else life["reports"][0]
    print("SSH: attempting to connect to worker 0", file=sys.stderr)
    print("\\n".join("distill-jax run: " + line for line in report))
    if not report:
        end(255)
elif verb == "ssh" and "start.sh" in arguments[-1] and life["failing_starts"]:
    life["failing_starts"] -= 1
    end(127)
end(0)
"""


class FakeCloud:
    """A folder with a `gcloud`; `calls` are the arguments of each call so far."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        add_command(directory, "gcloud", _GCLOUD.format(python=sys.executable, here=str(directory)))
        self.live()

    def live(
        self,
        states: tuple[str, ...] = ("ACTIVE",),
        after_create: tuple[str, ...] = ("ACTIVE",),
        reports: tuple[tuple[str, ...], ...] = (("running",),),
        failing_starts: int = 0,
    ) -> None:
        """States that `describe` will give, before and after a `create`; what hosts will report."""
        life = {
            "states": states,
            "after_create": after_create,
            "reports": reports,
            "failing_starts": failing_starts,
        }
        (self.directory / "life").write_text(json.dumps(life))

    @property
    def calls(self) -> list[list[str]]:
        path = self.directory / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def run(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A script of `tpu_scripts/` with this `gcloud`, and without the caller's variables."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("TPU_")}
        environment["PATH"] = f"{self.directory}:{environment['PATH']}"
        environment |= {
            "HOME": str(self.directory),
            "XDG_CACHE_HOME": str(self.directory / "cache"),
        }
        return run_script(SCRIPTS / script, *arguments, environment=environment)


def add_command(directory: Path, name: str, text: str) -> None:
    """An executable file."""
    path = directory / name
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def run_script(
    path: Path, *arguments: str, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Runs it to its end; one that waits for ever fails."""
    return subprocess.run(
        [str(path), *arguments], env=environment, capture_output=True, text=True, timeout=60
    )
