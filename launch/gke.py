"""Trains on TPU slices of a GKE cluster, as a JobSet (https://jobset.sigs.k8s.io).

  python -m launch.gke --name=xl --image=IMAGE --accelerator=tpu-v5p-slice --topology=8x8x8 \
    --hosts=128 [--slices=2] [--dry_run] -- --config=configs/dit_xl.py --workdir=/mnt/shared/xl

--dry_run prints the YAML instead of giving it to kubectl. The image holds the checkout in /videodit
with `pip install -e .[tpu]`. GKE tells every pod of its slice, and jax finds the others; a pod that
fails restarts the whole JobSet, and the run resumes. Exit status 2, a user's error, is final.
"""

import json
import subprocess
import sys

from absl import app, flags

from launch.supervise import USER_ERROR

CHIPS_PER_HOST = 4
USER_ERRORS = {"containerName": "train", "operator": "In", "values": [USER_ERROR]}

flags.DEFINE_string("name", None, "Of the JobSet.", required=True)
flags.DEFINE_string("image", None, "Container image.", required=True)
flags.DEFINE_string("accelerator", None, "Such as tpu-v5p-slice, tpu-v6e-slice.", required=True)
flags.DEFINE_string("topology", None, "Chips along each axis of a slice, as 8x8x8.", required=True)
flags.DEFINE_integer("hosts", None, "Machines of a slice.", 1, required=True)
flags.DEFINE_integer("slices", 1, "How many slices train as one.", 1)
flags.DEFINE_string("claim", "", "A PersistentVolumeClaim, mounted on /mnt/shared.")


def jobset(args, arguments: list[str]) -> dict:
    """The JobSet as plain data: one Job a slice, one pod a host."""
    container = {
        "name": "train",
        "image": args.image,
        "workingDir": "/videodit",
        "command": ["python3", "-m", "videodit.main", *arguments],
        "ports": [{"containerPort": 8471}, {"containerPort": 8080}],
        "resources": {"limits": {"google.com/tpu": CHIPS_PER_HOST}},
    }
    pod = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 300,  # for the checkpoint that SIGTERM asks for
        "nodeSelector": {
            "cloud.google.com/gke-tpu-accelerator": args.accelerator,
            "cloud.google.com/gke-tpu-topology": args.topology,
        },
        "containers": [container],
    }
    if args.claim:
        container["volumeMounts"] = [{"name": "shared", "mountPath": "/mnt/shared"}]
        pod["volumes"] = [{"name": "shared", "persistentVolumeClaim": {"claimName": args.claim}}]
    job = {
        "parallelism": args.hosts,
        "completions": args.hosts,
        "backoffLimit": 0,  # a pod that fails fails the slice, and so the JobSet, which restarts
        "podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": USER_ERRORS}]},
        "template": {"spec": pod},
    }
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {
            "name": args.name,
            "annotations": {
                "alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"
            },
        },
        "spec": {
            "failurePolicy": {
                "maxRestarts": args.restarts,
                "rules": [{"action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}],
            },
            "replicatedJobs": [
                {"name": "slice", "replicas": args.slices, "template": {"spec": job}}
            ],
        },
    }


def main(argv):
    if len(argv) < 2:
        raise app.UsageError("expected -- and the arguments of videodit.main")
    text = json.dumps(jobset(flags.FLAGS, argv[1:]), indent=2)  # JSON is YAML
    if flags.FLAGS.dry_run:
        print(text)
        return
    sys.exit(subprocess.run(["kubectl", "apply", "-f", "-"], input=text, text=True).returncode)


if __name__ == "__main__":
    app.run(main)
