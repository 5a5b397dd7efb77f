"""Trains on TPU slices of a GKE cluster, as a JobSet (https://jobset.sigs.k8s.io).

  python -m launch.gke --name=xl --image=IMAGE --accelerator=tpu-v5p-slice --topology=8x8x8 \
    [--slices=2] [--chips_per_host=8] [--dry_run] -- --config=configs/dit_xl.py \
    --workdir=/mnt/shared/xl

--dry_run prints the YAML instead of giving it to kubectl. An image has the checkout in /videodit,
installed by `pip install -e '.[tpu]'`. GKE tells every pod about its slice; jax finds the others.
A pod that fails restarts the whole JobSet, and the run resumes. JobSet counts restarts over its
whole life, so the pauses before them grow to five minutes and stay there. Final exit statuses, such
as 2 (a user's error), end the JobSet (videodit/config/exits.py). `kubectl delete jobset xl` stops
the run, which saves first.
"""

import json
import math
import re
import subprocess
import sys
from typing import Any

from absl import flags

from launch import supervise
from launch.command_line import behind_dashes, run
from videodit.config import check
from videodit.config.exits import PREEMPTED, SUCCESS, TABLE

FINAL = [row.status for row in TABLE if row.final and row.status != SUCCESS]
FINAL_FAILURES = {"containerName": "train", "operator": "In", "values": FINAL}
FAIL = {
    "name": "finalFailure",
    "action": "FailJobSet",
    "onJobFailureReasons": ["PodFailurePolicy"],
}
# What a pod runs. JobSet restarts it at once, so the pause is made here; SIGTERM ends the pause.
RUN = f"""\
if [ "${{RESTART:-0}}" -gt 0 ]; then
  pause=$(( RESTART < 6 ? 5 << RESTART : 300 ))
  echo "restart $RESTART; starting in $pause s" >&2
  trap 'exit {PREEMPTED}' TERM
  sleep "$pause" & wait $!
  trap - TERM
fi
exec python3 -m videodit.main "$@"
"""
ATTEMPT = "metadata.labels['jobset.sigs.k8s.io/restart-attempt']"

flags.adopt_module_key_flags(supervise)
flags.DEFINE_string("name", None, "Name of the JobSet.", required=True)
flags.DEFINE_string("image", None, "Container image.", required=True)
flags.DEFINE_string("accelerator", None, "Such as tpu-v5p-slice, tpu-v6e-slice.", required=True)
flags.DEFINE_string("topology", None, "Chips along each axis of a slice, as 8x8x8.", required=True)
flags.DEFINE_integer("chips_per_host", 4, "4, or 1 or 8 where one machine is a slice.")
flags.DEFINE_integer("slices", 1, "Slices that train as one.", 1)
flags.DEFINE_string("claim", "", "A PersistentVolumeClaim, mounted on /mnt/shared.")


def hosts(topology: str, chips_per_host: int, slices: int) -> int:
    """Number of machines of a slice. Raises ConfigError if GKE has no such slices."""
    shape = re.fullmatch(r"[1-9]\d*(x[1-9]\d*){1,2}", topology)
    check(bool(shape), "topology", topology, "chips along 2 or 3 axes, as 16x16 or 8x8x8")
    check(chips_per_host in (1, 4, 8), "chips_per_host", chips_per_host, "1, 4 or 8")
    chips = math.prod(map(int, topology.split("x")))
    if chips_per_host == 4:
        check(chips % 4 == 0, "topology", topology, "a multiple of chips_per_host=4 chips")
    else:
        expected = f"{chips_per_host} chips: chips_per_host={chips_per_host} is a single machine"
        check(chips == chips_per_host, "topology", topology, expected)
    count = chips // chips_per_host
    check(slices == 1 or count > 1, "slices", slices, "1, or slices of several machines")
    return count


def jobset(args: Any, arguments: list[str]) -> dict[str, Any]:
    """The JobSet as plain data: a Job for each slice, a pod for each host. Raises ConfigError.

    `args` are the flags, `arguments` those of videodit.main.
    """
    count = hosts(args.topology, args.chips_per_host, args.slices)
    job = {
        "parallelism": count,
        "completions": count,
        "backoffLimit": 0,  # a pod that fails makes its slice fail, and so the JobSet restarts
        "podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": FINAL_FAILURES}]},
        "template": {"spec": _pod(args, arguments)},
    }
    placement = {"alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"}
    slices = {"name": "slice", "replicas": args.slices, "template": {"spec": job}}
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {"name": args.name, "annotations": placement},
        "spec": {
            "failurePolicy": {"maxRestarts": args.restarts, "rules": [FAIL]},
            "replicatedJobs": [slices],
        },
    }


def _pod(args: Any, arguments: list[str]) -> dict[str, Any]:
    """What a host of a slice runs, and on which nodes."""
    container: dict[str, Any] = {
        "name": "train",
        "image": args.image,
        "workingDir": "/videodit",
        "command": ["sh", "-c", RUN, "train", *arguments],
        "env": [{"name": "RESTART", "valueFrom": {"fieldRef": {"fieldPath": ATTEMPT}}}],
        "ports": [{"containerPort": 8471}, {"containerPort": 8080}],
        "resources": {"limits": {"google.com/tpu": args.chips_per_host}},
    }
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 300,  # for the checkpoint that SIGTERM asks for
        "nodeSelector": {
            "cloud.google.com/gke-tpu-accelerator": args.accelerator,
            "cloud.google.com/gke-tpu-topology": args.topology,
        },
        "containers": [container],
    }
    if args.slices > 1:  # slices exchange data at the speed of the machines' network
        pod |= {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}
    if args.claim:
        container["volumeMounts"] = [{"name": "shared", "mountPath": "/mnt/shared"}]
        pod["volumes"] = [{"name": "shared", "persistentVolumeClaim": {"claimName": args.claim}}]
    return pod


def main(argv: list[str]) -> None:
    """Runs the command line. Raises ConfigError."""
    arguments = behind_dashes(argv, "the arguments of videodit.main")
    text = json.dumps(jobset(flags.FLAGS, arguments), indent=2)  # JSON is YAML
    if flags.FLAGS.dry_run:
        print(text)
        return
    sys.exit(subprocess.run(["kubectl", "apply", "-f", "-"], input=text, text=True).returncode)


if __name__ == "__main__":
    run(main)
