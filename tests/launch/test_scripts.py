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
    once = ["tmux", "has-session", "-t", "videodit", "||"]
    assert session[:10] == [*once, "tmux", "new-session", "-d", "-s", "videodit"]
    arguments = shlex.split(session[10])
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


@pytest.mark.parametrize("status, requeued", [(143, True), (2, False), (0, False)])
def test_a_slurm_job_that_saved_before_its_time_limit_is_requeued(tmp_path, status, requeued):
    for name, script in {
        "srun": f'echo "$@"; exit {status}',
        "scontrol": 'case "$1" in show) echo n1; echo n2;; *) echo "$@" >&2;; esac',
        "python3": f'exec {sys.executable} "$@"',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"SLURM_JOB_NODELIST": "n[1-2]", "SLURM_JOB_ID": "77"}
    environment["PATH"] = f"{tmp_path}:/usr/bin:/bin"
    command, root = [str(LAUNCH / "slurm.sh"), "--config=c"], LAUNCH.parent
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True)
    assert done.returncode == status and "videodit.main" in done.stdout
    assert done.stderr == ("requeue 77\n" if requeued else "")


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
    assert job["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [2]


@pytest.mark.parametrize("script", ["tpu_vm.sh", "slurm.sh"])
def test_without_arguments_they_say_how(script):
    done = subprocess.run([str(LAUNCH / script)], capture_output=True, text=True)
    assert done.returncode == 2 and "--config=configs/dit_xl.py" in done.stderr
