#!/usr/bin/env bash
# Trains on several GPU nodes under Slurm, one process a node.
#
#   sbatch --nodes=8 --gpus-per-node=8 launch/slurm.sh --config=configs/dit_xl.py --workdir=/shared/xl ...
#   launch/slurm.sh --dry-run ...     prints what srun would run
#
# A job that fails is started again on its nodes, with growing pauses; a node that is lost requeues
# the job. Five minutes before the time limit the run saves and leaves, and the job is requeued.
#SBATCH --job-name=videodit
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=TERM@300
set -euo pipefail

dry_run=
if [[ "${1:-}" == --dry-run ]]; then dry_run=1; shift; fi
if (( $# == 0 )); then sed -n '2,9p' "$0" >&2; exit 2; fi

if [[ -n "$dry_run" ]]; then
  first=FIRST_NODE
else
  first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)  # head would break the pipe
fi
export JAX_COORDINATOR_ADDRESS="$first:12345"
# Of every process, by srun: how many there are, and which it is.
process='JAX_NUM_PROCESSES=$SLURM_NTASKS JAX_PROCESS_ID=$SLURM_PROCID exec python3 -m videodit.main "$@"'
step=(srun --kill-on-bad-exit=1 --cpu-bind=none bash -c "$process" videodit "$@")

if [[ -n "$dry_run" ]]; then
  echo "JAX_COORDINATOR_ADDRESS=$JAX_COORDINATOR_ADDRESS $(printf '%q ' "${step[@]}")"
  exit
fi
left=143  # exit status of a run that was asked to leave (videodit/preemption.py)
status=0
python3 -m launch.supervise --final=$left -- "${step[@]}" || status=$?
if (( status == left )); then scontrol requeue "$SLURM_JOB_ID"; fi
exit "$status"
