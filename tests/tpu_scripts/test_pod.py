"""The scripts that create, set up, launch, follow, resume and delete a TPU."""

import shlex
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.tpu_scripts.fake_cloud import SCRIPTS, FakeCloud

POD = ("--name", "t5", "--zone", "us-east5-a", "--project", "my project")
WHERE = ["--zone=us-east5-a", "--project=my project"]
QUEUED, VM = ["compute", "tpus", "queued-resources"], ["compute", "tpus", "tpu-vm"]
COMMAND = (
    "train",
    "--gin_file=gin/runs/finetune.gin",
    "--gin.MODEL_DIR='gs://b/run 1'",
    '$HOME "x"',
)
START = ["env", "bash", "distill_jax/tpu_scripts/on_host/start.sh", *COMMAND]


@pytest.fixture
def cloud(tmp_path: Path) -> FakeCloud:
    directory = tmp_path / "bin"
    directory.mkdir()
    return FakeCloud(directory)


def dry(cloud: FakeCloud, script: str, *arguments: str) -> list[list[str]]:
    """The commands that a dry run prints, as a shell reads them."""
    done = cloud.run(script, *POD, *arguments)
    assert done.returncode == 0, done.stderr
    assert cloud.calls == []
    return [shlex.split(line) for line in done.stdout.splitlines()]


def ssh_commands(calls: list[list[str]]) -> list[list[str]]:
    """Node and remote command's words, of every ssh that starts something."""
    return [
        [call[4], *shlex.split(call[-1].removeprefix("--command="))]
        for call in calls
        if call[3] == "ssh" and "start.sh" in call[-1]
    ]


@pytest.mark.parametrize(
    ("type_", "runtime"),
    [
        ("v5litepod-16", "v2-alpha-tpuv5-lite"),
        ("v5p-32", "v2-alpha-tpuv5"),
        ("v6e-64", "v2-alpha-tpuv6e"),
        ("v4-32", "tpu-ubuntu2204-base"),
    ],
)
def test_create_one_slice(cloud: FakeCloud, type_: str, runtime: str) -> None:
    [command] = dry(cloud, "create.sh", "--type", type_, "--dry_run")
    assert command == ["gcloud", *QUEUED, "create", "t5", *WHERE, "--node-id=t5",
                       f"--accelerator-type={type_}", f"--runtime-version={runtime}"]  # fmt: skip


def test_create_spot_slices_of_another_runtime(cloud: FakeCloud) -> None:
    options = ("--type=v5p-32", "--slices=2", "--spot", "--runtime_version=x", "--dry_run")
    [command] = dry(cloud, "create.sh", *options)
    assert command == ["gcloud", *QUEUED, "create", "t5", *WHERE, "--node-count=2", "--node-prefix=t5",
                       "--accelerator-type=v5p-32", "--runtime-version=x", "--spot"]  # fmt: skip


def test_delete(cloud: FakeCloud) -> None:
    [command] = dry(cloud, "delete.sh", "--dry_run")
    assert command == ["gcloud", *QUEUED, "delete", "t5", *WHERE, "--force", "--quiet"]


def check_package(root: Path, names: list[str], folder: Path) -> None:
    """These files of a checkout have to be enough for an installation."""
    folder.mkdir()
    for name in names:
        copy = shutil.copytree if (root / name).is_dir() else shutil.copy
        copy(root / name, folder / name)
    command = [sys.executable, "setup.py", "--quiet", "egg_info", "--egg-base", str(folder)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_image_has_all_of_the_package(tmp_path: Path) -> None:
    root = SCRIPTS.parent
    lines = (SCRIPTS / "gke" / "Dockerfile").read_text().splitlines()
    names = [n for line in lines if line.startswith("COPY") for n in line.split()[1:-1]]
    check_package(root, names, tmp_path / "image")


def test_setup_copies_to_all_slices_and_installs(cloud: FakeCloud, tmp_path: Path) -> None:
    describe, mkdir, tar, *rest = dry(cloud, "setup.sh", "--slices", "2", "--dry_run")
    assert describe == ["gcloud", *QUEUED, "describe", "t5", *WHERE, "--format=value(state.state)"]
    archive = tar[tar.index("-czf") + 1]
    assert mkdir == ["mkdir", "-p", str(Path(archive).parent)]
    root = Path(tar[tar.index("-C") + 1])
    check_package(root, tar[tar.index("--exclude=__pycache__") + 1 :], tmp_path / "host")
    copies, installs = rest[:2], rest[2:]
    assert copies == [
        ["gcloud", *VM, "scp", archive, f"t5-{i}:checkout.tar.gz", *WHERE, "--worker=all"]
        for i in (0, 1)
    ]
    for i, install in enumerate(installs):
        assert install[:-1] == ["gcloud", *VM, "ssh", f"t5-{i}", *WHERE, "--worker=all"]
        assert install[-1].endswith("&& bash tpu_scripts/on_host/install.sh tpu,train")


def test_launch_quotes_for_both_shells(cloud: FakeCloud) -> None:
    options = ("--slices=2", "--cache_dir", "gs://b/xla", "--env", "A=it's $1")
    commands = dry(cloud, "launch.sh", *options, "--dry_run", "--", *COMMAND)
    for i, command in enumerate(commands):
        assert command[:-1] == ["gcloud", *VM, "ssh", f"t5-{i}", *WHERE, "--worker=all"]
        remote = shlex.split(command[-1].removeprefix("--command="))
        cache = "JAX_COMPILATION_CACHE_DIR=gs://b/xla"
        assert remote == ["env", "A=it's $1", cache, *START[1:]]
    assert len(commands) == 2


@pytest.fixture
def checkouts(tmp_path: Path) -> Path:
    """What t5x runs from, as `--t5x` takes it."""
    for name in ("t5x", "airio", "jestimator"):
        (tmp_path / "my checkouts" / name / name).mkdir(parents=True)
        (tmp_path / "my checkouts" / name / name / "__init__.py").touch()
    return tmp_path / "my checkouts"


def test_t5x_is_brought_to_all_hosts(cloud: FakeCloud, checkouts: Path) -> None:
    plain = dry(cloud, "setup.sh", "--slices=2", "--dry_run")
    calls = dry(cloud, "setup.sh", "--slices=2", "--t5x", str(checkouts), "--dry_run")
    added = [call for call in calls[:-2] if call not in plain]
    archive = added[0][2]
    names = ["t5x", "airio", "jestimator"]
    assert added == [
        ["tar", "-czf", archive, "-C", str(checkouts), "--exclude=__pycache__", "--exclude=.git", *names],
        *(
            ["gcloud", *VM, "scp", archive, f"t5-{i}:t5x.tar.gz", *WHERE, "--worker=all"]
            for i in (0, 1)
        ),
    ]  # fmt: skip
    for before, install in zip(plain[-2:], calls[-2:], strict=True):
        assert install[:-1] == before[:-1]
        unpack = "mkdir -p t5x && tar -xzf ../t5x.tar.gz -C t5x && bash tpu_scripts"
        assert install[-1] == before[-1].replace("bash tpu_scripts", unpack)


@pytest.mark.parametrize("script", ["train", "eval", "infer"])
def test_launch_of_t5x(cloud: FakeCloud, script: str) -> None:
    options = ("--trainer=t5x", "--env", "DISTILL_JAX_VOCABULARY=gs://b/v", "--dry_run")
    [command] = dry(cloud, "launch.sh", *options, "--", script, *COMMAND[1:])
    remote = shlex.split(command[-1].removeprefix("--command="))
    start = [*START[1:3], "--trainer", "t5x", script, *COMMAND[1:]]
    assert remote == ["env", "DISTILL_JAX_VOCABULARY=gs://b/v", *start]


def test_resume_of_t5x_on_a_new_tpu(cloud: FakeCloud, checkouts: Path) -> None:
    cloud.live(states=("SUSPENDED",))
    done = cloud.run(*RESUME, "--trainer", "t5x", "--t5x", str(checkouts), "--", *COMMAND)
    assert done.returncode == 0, done.stderr
    assert verbs(cloud) == ["delete", "create", "scp", "scp", "install", "start"]
    [_, copy] = [call for call in cloud.calls if call[3] == "scp"]
    with tarfile.open(copy[4]) as archive:
        assert "t5x/t5x/__init__.py" in archive.getnames()
    assert ssh_commands(cloud.calls) == [
        ["t5", *START[:3], "--trainer", "t5x", *COMMAND],
    ]


def test_what_a_dry_run_prints_can_be_pasted(cloud: FakeCloud) -> None:
    printed = cloud.run("launch.sh", *POD, "--dry_run", "--", *COMMAND).stdout
    environment = {"PATH": f"{cloud.directory}:/usr/bin:/bin"}
    subprocess.run(["bash", "-c", printed], env=environment, check=True)
    pasted = cloud.calls
    (cloud.directory / "calls").unlink()
    assert cloud.run("launch.sh", *POD, "--", *COMMAND).returncode == 0
    assert cloud.calls == pasted
    assert ssh_commands(pasted) == [["t5", *START]]


def test_logs(cloud: FakeCloud) -> None:
    [command] = dry(cloud, "logs.sh", "--dry_run")
    assert command == ["gcloud", *VM, "ssh", "t5", *WHERE, "--worker=0",
                       "--command=tail -n 100 -F distill_jax_run/log"]  # fmt: skip
    options = ("--slices=2", "--slice=1", "--worker=all", "--lines=5", "--dry_run")
    [command] = dry(cloud, "logs.sh", *options)
    assert command[5] == "t5-1"
    assert command[-2:] == ["--worker=all", "--command=tail -n 5 -F distill_jax_run/log"]


def test_options_from_the_environment(cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {
        "NAME": "t5",
        "ZONE": "z",
        "PROJECT": "p",
        "TYPE": "v5p-8",
        "SLICES": "2",
        "SPOT": "yes",
    }
    environment = {"PATH": f"{cloud.directory}:/usr/bin:/bin"}
    environment |= {f"TPU_{name}": value for name, value in names.items()}
    done = subprocess.run(
        [SCRIPTS / "create.sh", "--dry_run"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-5:] == [
        "--node-count=2", "--node-prefix=t5", "--accelerator-type=v5p-8",
        "--runtime-version=v2-alpha-tpuv5", "--spot",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("script", "arguments", "said"),
    [
        ("create.sh", (), "--name (or TPU_NAME) --zone (or TPU_ZONE) --project (or TPU_PROJECT)"),
        ("create.sh", POD, "missing: --type (or TPU_TYPE)"),
        ("create.sh", (*POD, "--type", "h100"), "--type is 'h100'"),
        ("create.sh", (*POD, "--type=v5p-8", "--slices", "0"), "--slices is '0'"),
        ("create.sh", (*POD, "--name", "My pod"), "--name is 'My pod'"),
        ("create.sh", (*POD, "--colour", "red"), "unknown option --colour"),
        ("create.sh", (*POD, "--type"), "--type needs a value"),
        ("create.sh", (*POD, "v5p-8"), "unexpected argument 'v5p-8'"),
        ("setup.sh", (*POD, "--extras", "tpu; rm"), "--extras is 'tpu; rm'"),
        ("launch.sh", POD, "missing: the distill-jax command"),
        ("launch.sh", (*POD, "--", "predict"), "the command is 'predict'"),
        ("launch.sh", (*POD, "--env", "A B", "--", "train"), "--env is 'A B'"),
        ("launch.sh", (*POD, "--trainer=t5y", "--", "train"), "--trainer is 't5y'"),
        ("launch.sh", (*POD, "--trainer=t5x", "--", "label"), "t5x has train, eval and infer"),
        ("launch.sh", (*POD, "--", "infer"), "the command is 'infer'"),
        ("setup.sh", (*POD, "--t5x", "/nowhere"), "--t5x is '/nowhere', which has no t5x/t5x"),
        ("logs.sh", (*POD, "--slice", "1"), "--slice is 1"),
        ("logs.sh", (*POD, "--lines", "x; rm"), "--lines is 'x; rm'"),
        ("logs.sh", (*POD, "--worker", "0; rm"), "--worker is '0; rm'"),
        ("resume.sh", (*POD, "--", "train"), "missing: --type"),
        ("resume.sh", (*POD, "--trainer=t5x", "--", "train"), "missing: --t5x"),
        ("resume.sh", (*POD, "--type=v5p-8"), "missing: the distill-jax command"),
        ("delete.sh", POD[2:], "missing: --name"),
    ],
)
def test_mistakes_are_one_line(
    cloud: FakeCloud, script: str, arguments: tuple[str, ...], said: str
) -> None:
    done = cloud.run(script, *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(f"{script}: error: ") and said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert cloud.calls == []


@pytest.mark.parametrize("script", sorted(path.name for path in SCRIPTS.glob("*.sh")))
def test_help_is_the_comment_at_the_top(cloud: FakeCloud, script: str) -> None:
    if script == "common.sh":
        return
    done = cloud.run(script, "--help")
    assert done.returncode == 0
    assert (
        f"  {script} " in done.stdout and "#" not in done.stdout and "common.sh" not in done.stdout
    )


def test_without_gcloud(tmp_path: Path) -> None:
    for tool in ("bash", "dirname", "basename", "env"):
        found = subprocess.run(["which", tool], capture_output=True, text=True, check=True)
        (tmp_path / tool).symlink_to(found.stdout.strip())
    done = subprocess.run(
        [SCRIPTS / "delete.sh", *POD], env={"PATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.returncode == 2 and "gcloud is not installed" in done.stderr


def verbs(cloud: FakeCloud) -> list[str]:
    """What was done, in order, looking left out."""
    found = []
    for call in cloud.calls:
        if call[3] == "describe" or "status.sh" in call[-1]:
            continue
        kind = (
            "start"
            if "start.sh" in call[-1]
            else "install"
            if "install.sh" in call[-1]
            else call[3]
        )
        found.append(kind)
    return found


RESUME = ("resume.sh", *POD, "--type", "v5p-8", "--spot", "--poll_seconds", "0")


def test_resume_makes_again_what_was_taken_away(cloud: FakeCloud) -> None:
    cloud.live(
        states=("SUSPENDING", "SUSPENDED"),
        after_create=("WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"),
    )
    done = cloud.run(*RESUME, "--", *COMMAND)
    assert done.returncode == 0, done.stderr
    assert verbs(cloud) == ["delete", "create", "scp", "install", "start"]
    [create] = [call for call in cloud.calls if call[3] == "create"]
    assert create[-1] == "--spot"
    assert ssh_commands(cloud.calls) == [["t5", *START]]
    [copy] = [call for call in cloud.calls if call[3] == "scp"]
    with tarfile.open(copy[4]) as archive:
        names = archive.getnames()
    assert {"setup.py", "constraints.txt", "tasks/__init__.py", "gin/runs/finetune.gin"} <= set(
        names
    )
    assert {"distill_jax/cli/main.py", "tpu_scripts/on_host/start.sh"} <= set(names)
    assert not any("__pycache__" in name for name in names)


def test_resume_of_a_tpu_that_is_there_only_launches(cloud: FakeCloud) -> None:
    assert cloud.run(*RESUME, "--", *COMMAND).returncode == 0
    assert verbs(cloud) == ["start"]


def test_resume_makes_again_what_fails_while_it_waits(cloud: FakeCloud) -> None:
    cloud.live(states=("WAITING_FOR_RESOURCES", "FAILED"))
    assert cloud.run(*RESUME, "--", *COMMAND).returncode == 0
    assert verbs(cloud) == ["delete", "create", "scp", "install", "start"]


def test_resume_sets_up_hosts_that_are_not(cloud: FakeCloud) -> None:
    cloud.live(failing_starts=1)
    assert cloud.run(*RESUME, "--", *COMMAND).returncode == 0
    assert verbs(cloud) == ["start", "scp", "install", "start"]


def test_watch_goes_on_until_the_run_has_ended(cloud: FakeCloud) -> None:
    cloud.live(
        states=("ACTIVE", "ACTIVE", "ACTIVE", "SUSPENDED"),
        after_create=("WAITING_FOR_RESOURCES", "ACTIVE"),
        reports=(
            ("running", "running"),
            (),  # a host does not answer: the machine is being taken away
            ("exit 75", "running"),
            ("exit 75", "lost"),
            ("exit 143", "exit 0"),
            ("exit 0", "exit 0"),
        ),
    )
    done = cloud.run(*RESUME, "--watch", "--", *COMMAND)
    assert done.returncode == 0, done.stderr
    made_again = ["delete", "create", "scp", "install", "start"]
    assert verbs(cloud) == ["start", *made_again, "start", "start"]
    assert set(map(tuple, ssh_commands(cloud.calls))) == {("t5", *START)}


@pytest.mark.parametrize(
    ("report", "code", "said"),
    [
        (("exit 2", "exit 2"), 2, "a mistake of its command"),
        (("exit 1", "exit 75"), 1, "the run failed"),
        (("exit 75", "exit 75"), 1, "stopped again after 2 restarts"),
        (("none", "none"), 1, "stopped again after 2 restarts"),
    ],
)
def test_watch_gives_up(cloud: FakeCloud, report: tuple[str, ...], code: int, said: str) -> None:
    cloud.live(reports=(report,))
    done = cloud.run(*RESUME, "--watch", "--max_restarts", "2", "--", *COMMAND)
    assert done.returncode == code
    assert said in done.stderr
    assert verbs(cloud) == ["start"] * (3 if "again" in said else 1)


def test_a_state_that_cannot_be_asked_for_is_no_reason_to_create(cloud: FakeCloud) -> None:
    cloud.live(states=("UNREACHABLE",))
    done = cloud.run(*RESUME, "--", *COMMAND)
    assert done.returncode == 1 and "ConnectionError" in done.stderr
    assert verbs(cloud) == []


def test_setup_of_a_tpu_that_will_not_come(cloud: FakeCloud) -> None:
    cloud.live(states=("FAILED",))
    done = cloud.run("setup.sh", *POD)
    assert done.returncode == 1 and "t5 is FAILED; resume.sh makes it again" in done.stderr
    assert verbs(cloud) == []


def test_a_slice_that_cannot_be_reached_fails_the_launch(cloud: FakeCloud) -> None:
    cloud.live(failing_starts=1)
    assert cloud.run("launch.sh", *POD, "--slices=2", "--", *COMMAND).returncode != 0
    assert sorted(command[0] for command in ssh_commands(cloud.calls)) == ["t5-0", "t5-1"]
