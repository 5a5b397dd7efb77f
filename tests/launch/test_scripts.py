"""Dry runs of the launchers of clusters that are not there, and runs with stubs of their tools."""

import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from videodit.config.exits import PREEMPTED, TABLE

LAUNCH = Path(__file__).parents[2] / "launch"
WHERE = "--config.data.where=aspect > 1 and motion > 0.2"
PYTHON = "/opt/my python/bin/python"


def output(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=True, **options).stdout


def refused(*command, **options) -> str:
    """The one line with which a command ends for a user's error."""
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    return done.stderr.strip()


def stub(folder, **scripts):
    """An environment with stubs of programs, each a line of shell."""
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin"}


def tmux_command(*words, **options) -> list[str]:
    """The words of what tpu_vm.sh runs on each host."""
    text = output(str(LAUNCH / "tpu_vm.sh"), *words, **options)
    assert text.startswith("gcloud compute tpus tpu-vm ssh pod --zone=us-east5-a --worker=all ")
    session = shlex.split(text.partition("--command=")[2].replace("\n", ""))
    once = ["tmux", "has-session", "-t", "videodit", "||"]
    assert session[:10] == [*once, "tmux", "new-session", "-d", "-s", "videodit"]
    return shlex.split(session[10])


def test_tpu_vm_runs_the_same_command_on_all_workers():
    words = tmux_command("--dry-run", "pod", "us-east5-a", "--config=c", WHERE)
    assert words[words.index("cd") :] == [
        "cd", "~/videodit", "&&", "exec", "python3", "-m", "launch.supervise", "--",
        "python3", "-m", "videodit.main", "--config=c", WHERE,
    ]  # fmt: skip


def test_tpu_vm_uses_the_python_it_is_told():
    words = ("--dry-run", "pod", "us-east5-a", "--config=c")
    assert tmux_command(*words, env={"PATH": "/usr/bin:/bin", "PYTHON": PYTHON}).count(PYTHON) == 2


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize("flag", ["--dry-run", "--dry_run"])
def test_a_dry_run_of_tpu_vm_is_one_wherever_the_flag_stands(place, flag):
    words = ["pod", "us-east5-a", "--config=c", WHERE]
    words.insert(place, flag)
    assert tmux_command(*words)[-2:] == ["--config=c", WHERE]


@pytest.mark.parametrize("place", range(3))
def test_a_dry_run_of_slurm_is_one_wherever_the_flag_stands(place):
    words = ["--config=c", WHERE]
    words.insert(place, "--dry-run")
    found = shlex.split(output(str(LAUNCH / "slurm.sh"), *words))
    assert "srun" in found and found[-2:] == ["--config=c", WHERE]


def slurm_step(folder, program: str, **environment):
    """Runs what srun would run, as its process 3 of 8, with `program` as a stub of PYTHON."""
    env = stub(folder, python3=program) | environment
    words = shlex.split(output(str(LAUNCH / "slurm.sh"), "--dry-run", "--config=c", WHERE, env=env))
    assert words[0] == "JAX_COORDINATOR_ADDRESS=FIRST_NODE:12345"
    env |= {"SLURM_NTASKS": "8", "SLURM_PROCID": "3"}
    return output(*words[words.index("bash") :], env=env).splitlines()


def test_slurm_starts_one_process_a_node(tmp_path):
    program = 'echo "$JAX_NUM_PROCESSES" "$JAX_PROCESS_ID"; printf "%s\\n" "$@"'
    assert slurm_step(tmp_path, program) == ["8 3", "-m", "videodit.main", "--config=c", WHERE]


def test_slurm_uses_the_python_it_is_told(tmp_path):
    folder = tmp_path / "my env"
    folder.mkdir()
    assert slurm_step(folder, "echo this", PYTHON=f"{folder}/python3") == ["this"]


def test_a_process_that_does_not_listen_yet_does_not_end_as_one_that_has_saved(tmp_path):
    assert slurm_step(tmp_path, "kill -TERM $$; echo alive") == ["alive"]


def slurm_job(folder, srun: str, **options):
    """slurm.sh in a job whose srun is a stub, as are those by which it speaks with Slurm."""
    env = stub(
        folder,
        srun=srun,
        scontrol='case "$1" in show) echo n1; echo n2;; *) echo "$@" >&2;; esac',
        scancel=f'[ "$*" = "--quiet --signal=TERM 77" ] && kill -USR2 $(cat {folder}/pid)',
        python3=f'exec {sys.executable} "$@"',
    )
    env |= {"SLURM_JOB_NODELIST": "n[1-2]", "SLURM_JOB_ID": "77"}
    options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command, root = [str(LAUNCH / "slurm.sh"), "--config=c"], LAUNCH.parent
    return subprocess.Popen(command, env=env, cwd=root, **options)


FINAL = [(row.status, False) for row in TABLE if row.final]


@pytest.mark.parametrize("status, requeued", [(PREEMPTED, True), *FINAL])
def test_a_slurm_job_that_saved_and_left_is_requeued(tmp_path, status, requeued):
    job = slurm_job(tmp_path, f'echo "$@"; exit {status}')
    found, errors = job.communicate(timeout=60)
    assert job.returncode == status and "videodit.main" in found
    assert errors == ("requeue 77\n" if requeued else "")


@pytest.mark.parametrize(
    "number, status, requeued",
    [(signal.SIGUSR1, 143, True), (signal.SIGTERM, 143, False), (signal.SIGUSR1, 0, False)],
    ids=["its time is nearly up", "it is to stop", "its time is nearly up as it ends"],
)
def test_slurm_asks_the_processes_to_leave_and_not_srun(tmp_path, number, status, requeued):
    """The stub of srun dies of SIGTERM as the real one does; scancel reaches its processes."""
    srun = f"trap 'exit {status}' USR2; trap 'exit 99' TERM; echo $$ > {tmp_path}/pid"
    job = slurm_job(tmp_path, f"{srun}; while :; do sleep 0.1; done")
    deadline = time.monotonic() + 60
    while not (tmp_path / "pid").exists():
        assert job.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    job.send_signal(number)
    _, errors = job.communicate(timeout=60)
    assert job.returncode == status
    assert errors == ("requeue 77\n" if requeued else "")


def test_slurm_outside_of_a_job_says_what_is_missing():
    line = refused(str(LAUNCH / "slurm.sh"), "--config=c", env={"PATH": "/usr/bin:/bin"})
    assert line == "error: SLURM_JOB_NODELIST is not set: expected sbatch, or --dry-run"


GKE = ("--name=xl", "--image=I", "--accelerator=tpu-v5p-slice", "--dry_run")


def gke(*words):
    return sys.executable, "-m", "launch.gke", *GKE, *words


def pods_of(*words):
    """How many pods of how many chips the slices of a JobSet have."""
    job = json.loads(output(*gke(*words, "--", "--config=c")))["spec"]["replicatedJobs"][0]
    job = job["template"]["spec"]
    limits = job["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert job["parallelism"] == job["completions"]
    return job["parallelism"], limits["google.com/tpu"]


def test_gke_is_a_jobset_of_one_pod_a_host():
    text = output(*gke("--slices=2", "--topology=8x8x8", "--", "--config=c", WHERE))
    slices = json.loads(text)["spec"]["replicatedJobs"][0]
    job = slices["template"]["spec"]
    assert slices["replicas"] == 2 and job["parallelism"] == job["completions"] == 128
    pod = job["template"]["spec"]
    assert pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"] == "8x8x8"
    assert pod["containers"][0]["command"][-2:] == ["--config=c", WHERE]
    assert pod["hostNetwork"] and pod["dnsPolicy"] == "ClusterFirstWithHostNet"  # between slices
    one = json.loads(output(*gke("--topology=8x8x8", "--", "--config=c")))["spec"]["replicatedJobs"]
    assert "hostNetwork" not in one[0]["template"]["spec"]["template"]["spec"]
    final = job["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"]
    assert final == [row.status for row in TABLE if row.final and row.status]


@pytest.mark.parametrize(
    "topology, chips, pods", [("16x16", 4, 64), ("2x4", 4, 2), ("2x4", 8, 1), ("1x1", 1, 1)]
)
def test_gke_counts_the_machines_of_a_slice(topology, chips, pods):
    assert pods_of(f"--topology={topology}", f"--chips_per_host={chips}") == (pods, chips)


@pytest.mark.parametrize(
    "words, line",
    [
        (["--topology=banana"], "--topology='banana': expected chips along 2 or 3 axes, as 16x16"),
        (["--topology=0x8"], "--topology='0x8': expected chips along 2 or 3 axes, as 16x16"),
        (["--topology=1x1"], "--topology='1x1': expected a multiple of chips_per_host=4 chips"),
        (["--topology=4x4", "--chips_per_host=8"], "--topology='4x4': expected 8 chips: "),
        (["--topology=4x4", "--chips_per_host=3"], "--chips_per_host=3: expected 1, 4 or 8"),
        (["--topology=2x2", "--slices=2"], "--slices=2: expected 1, or slices of several machines"),
        (["--topology=4x4", "--slices=0"], "--slices=0: "),
        (["--topology=8x8x8", "--hosts=7"], "Unknown command line flag 'hosts'"),
        ([], "--topology: expected a value"),
    ],
)
def test_gke_refuses_what_is_no_slice(words, line):
    assert refused(*gke(*words, "--", "--config=c")).startswith(f"error: {line}")


def test_gke_wants_arguments():
    assert "expected -- and the arguments" in refused(*gke("--topology=4x4"))


@pytest.mark.parametrize(
    "restart, pause", [("", 0), ("0", 0), ("1", 10), ("2", 20), ("5", 160), ("6", 300), ("99", 300)]
)
def test_a_pod_pauses_before_a_restart(tmp_path, restart, pause):
    job = json.loads(output(*gke("--topology=4x4", "--", "--config=c", WHERE)))
    pod = job["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    container = pod["containers"][0]
    path = "metadata.labels['jobset.sigs.k8s.io/restart-attempt']"
    [variable] = container["env"]
    assert variable["valueFrom"] == {"fieldRef": {"fieldPath": path}}
    env = stub(tmp_path, sleep='echo "sleep $1"', python3='printf "%s\\n" "$@"')
    found = output(*container["command"], env=env | {variable["name"]: restart}).splitlines()
    waits = [f"sleep {pause}"] if pause else []
    assert found == [*waits, "-m", "videodit.main", "--config=c", WHERE]


@pytest.mark.parametrize(
    "command",
    [["tpu_vm.sh"], ["slurm.sh"], ["slurm.sh", "--dry-run"], ["tpu_vm.sh", "--config=c", "a", "b"]],
)
def test_without_arguments_they_say_how(command):
    done = subprocess.run([str(LAUNCH / command[0]), *command[1:]], capture_output=True, text=True)
    assert done.returncode == 2 and "--config=configs/dit_xl.py" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("#") and "TERM" in done.stderr
