"""Dry runs of the launchers of clusters that are not there."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

LAUNCH = Path(__file__).parents[2] / "launch"
WHERE = "--config.data.where=aspect > 1 and motion > 0.2"


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_tpu_vm_runs_the_same_command_on_all_workers():
    script = str(LAUNCH / "tpu_vm.sh")
    words = output(script, "--dry-run", "pod", "us-east5-a", "--config=c", WHERE)
    assert words.startswith("gcloud compute tpus tpu-vm ssh pod --zone=us-east5-a --worker=all ")
    session = shlex.split(words.partition("--command=")[2].replace("\n", ""))
    assert session[:5] == ["tmux", "new-session", "-d", "-s", "videodit"]
    arguments = shlex.split(session[5])
    assert arguments[:8] == [
        "cd", "~/videodit", "&&", "python3", "-m", "launch.supervise", "--", "python3",
    ]  # fmt: skip
    assert WHERE in arguments


def test_slurm_starts_one_process_a_node(tmp_path):
    words = shlex.split(output(str(LAUNCH / "slurm.sh"), "--dry-run", "--config=c", WHERE))
    assert words[0] == "JAX_COORDINATOR_ADDRESS=FIRST_NODE:12345"
    step = words[words.index("bash") :]
    stub = tmp_path / "python3"
    stub.write_text('#!/bin/sh\necho "$JAX_NUM_PROCESSES" "$JAX_PROCESS_ID"; printf "%s\\n" "$@"\n')
    stub.chmod(0o755)
    environment = {"SLURM_NTASKS": "8", "SLURM_PROCID": "3", "PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(step, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["8 3", "-m", "videodit.main", "--config=c", WHERE]


def test_gke_is_a_jobset_of_one_pod_a_host():
    text = output(
        sys.executable, "-m", "launch.gke", "--name=xl", "--image=I", "--slices=2", "--hosts=128",
        "--accelerator=tpu-v5p-slice", "--topology=8x8x8", "--dry_run", "--", "--config=c", WHERE,
    )  # fmt: skip
    slices = json.loads(text)["spec"]["replicatedJobs"][0]
    job = slices["template"]["spec"]
    assert slices["replicas"] == 2 and job["parallelism"] == job["completions"] == 128
    pod = job["template"]["spec"]
    assert pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"] == "8x8x8"
    assert pod["containers"][0]["command"][-2:] == ["--config=c", WHERE]


@pytest.mark.parametrize("script", ["tpu_vm.sh", "slurm.sh"])
def test_without_arguments_they_say_how(script):
    done = subprocess.run([str(LAUNCH / script)], capture_output=True, text=True)
    assert done.returncode == 2 and "--config=configs/dit_xl.py" in done.stderr
