"""The JobSet manifest, the command line in it, and GKE's names for TPU slices."""

import subprocess
import sys
from typing import Any

import pytest
import yaml

from tests.tpu_scripts.fake_cloud import SCRIPTS

OPTIONS = ("--name", "t5", "--topology", "v5e:4x4", "--image", "host/i:1")
COMMAND = ("train", "--gin_file=f.gin", "--gin.MODEL_DIR='gs://b-1/run \"1\"'", "$(HOME) ${NAME} é")


def render(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(SCRIPTS / "gke" / "render.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def manifest(*arguments: str) -> dict[str, Any]:
    done = render(*arguments)
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)


def job_of(found: dict[str, Any]) -> dict[str, Any]:
    [replicated] = found["spec"]["replicatedJobs"]
    return replicated["template"]["spec"]


def test_a_run_of_t5x() -> None:
    found = manifest(*OPTIONS, "--trainer=t5x", "--", "infer", "--gin_file=f.gin")
    [container] = job_of(found)["template"]["spec"]["containers"]
    assert container["command"] == ["python", "-m", "distill_jax.interop.t5x.launch"]
    assert container["args"] == ["infer", "--gin_file=f.gin"]
    done = render(*OPTIONS, "--trainer=t5x", "--", "label")
    assert (
        done.returncode == 2 and "of t5x" in done.stderr and "train or eval or infer" in done.stderr
    )


def test_the_template_is_yaml() -> None:
    template = yaml.safe_load((SCRIPTS / "gke" / "jobset.yaml").read_text(encoding="utf-8"))
    assert template["kind"] == "JobSet"


def test_the_manifest() -> None:
    found = manifest(*OPTIONS, "--slices=2", "--spot", "--env=CACHE=gs://b-2/x", "--", *COMMAND)
    assert (found["apiVersion"], found["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    assert found["metadata"]["name"] == "t5"
    assert found["spec"]["replicatedJobs"][0]["replicas"] == 2
    job = job_of(found)
    assert (job["parallelism"], job["completions"], job["backoffLimit"]) == (4, 4, 0)
    pod = job["template"]["spec"]
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
        "cloud.google.com/gke-tpu-topology": "4x4",
        "cloud.google.com/gke-spot": "true",
    }
    [container] = pod["containers"]
    assert container["image"] == "host/i:1"
    assert container["command"] == ["distill-jax"]
    # Kubernetes reads $$(HOME) as the text $(HOME).
    assert container["args"] == [
        "train", "--gin_file=f.gin", "--gin.MODEL_DIR='/gs/b-1/run \"1\"'", "$$(HOME) ${NAME} é"
    ]  # fmt: skip
    assert container["env"] == [{"name": "CACHE", "value": "/gs/b-2/x"}]
    assert container["resources"] == {
        "requests": {"google.com/tpu": 4},
        "limits": {"google.com/tpu": 4},
    }
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    buckets = {v["name"]: v["csi"]["volumeAttributes"]["bucketName"] for v in pod["volumes"]}
    assert mounts == {name: f"/gs/{bucket}" for name, bucket in buckets.items()}
    assert sorted(buckets.values()) == ["b-1", "b-2"]
    assert job["template"]["metadata"]["annotations"]["gke-gcsfuse/volumes"] == "true"


def test_what_restarts_and_what_does_not() -> None:
    found = manifest(*OPTIONS, "--max_restarts=7", "--", "train")
    assert found["spec"]["failurePolicy"]["maxRestarts"] == 7
    [mistake] = job_of(found)["podFailurePolicy"]["rules"]
    assert mistake["action"] == "FailJob"
    assert mistake["onExitCodes"] == {
        "containerName": "distill-jax",
        "operator": "In",
        "values": [2],
    }
    assert job_of(found)["template"]["spec"]["restartPolicy"] == "Never"
    assert job_of(found)["template"]["spec"]["volumes"] == []


@pytest.mark.parametrize(
    ("topology", "accelerator", "hosts", "chips"),
    [
        ("v5e:1x1", "tpu-v5-lite-podslice", 1, 1),
        ("v5e:2x2", "tpu-v5-lite-podslice", 1, 4),
        ("v5e:2x4", "tpu-v5-lite-podslice", 1, 8),
        ("v5e:16x16", "tpu-v5-lite-podslice", 64, 4),
        ("v6e:4x8", "tpu-v6e-slice", 8, 4),
        ("v5p:2x2x1", "tpu-v5p-slice", 1, 4),
        ("v5p:4x4x8", "tpu-v5p-slice", 32, 4),
        ("v4:2x2x4", "tpu-v4-podslice", 4, 4),
    ],
)
def test_slices(topology: str, accelerator: str, hosts: int, chips: int) -> None:
    found = manifest(*OPTIONS, "--topology", topology, "--", "train")
    job = job_of(found)
    pod = job["template"]["spec"]
    assert pod["nodeSelector"]["cloud.google.com/gke-tpu-accelerator"] == accelerator
    assert pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"] == topology.partition(":")[2]
    assert (job["parallelism"], job["completions"]) == (hosts, hosts)
    assert pod["containers"][0]["resources"]["limits"]["google.com/tpu"] == chips


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((*OPTIONS[:2], "--", "train"), "required: --topology, --image"),
        ((*OPTIONS, "--topology", "v5p:4x4", "--", "train"), "--topology is 'v5p:4x4'"),
        ((*OPTIONS, "--topology", "v5e:3x1", "--", "train"), "of 3 chips"),
        ((*OPTIONS, "--topology", "a100:8", "--", "train"), "--topology is 'a100:8'"),
        ((*OPTIONS, "--name", "T5", "--", "train"), "--name is 'T5'"),
        ((*OPTIONS, "--slices", "0", "--", "train"), "--slices is 0"),
        ((*OPTIONS, "--slices=2", "--topology=v5e:2x2", "--", "train"), "several hosts only"),
        ((*OPTIONS, "--env", "A", "--", "train"), "--env is 'A'"),
        (OPTIONS, "after -- comes"),
        ((*OPTIONS, "--", "predict"), "after -- comes"),
    ],
)
def test_mistakes(arguments: tuple[str, ...], said: str) -> None:
    done = render(*arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert said in done.stderr.splitlines()[-1]
