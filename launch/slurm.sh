#!/usr/bin/env bash
# Trains on several GPU nodes under Slurm, one process a node.
#
#   sbatch --nodes=8 --gpus-per-node=8 launch/slurm.sh --config=configs/dit_xl.py --workdir=/shared/xl ...
#   launch/slurm.sh --dry-run ...     prints what srun would run
#
# Call it in the checkout. PYTHON=.venv/bin/python before the command chooses another Python than
# python3 (3.11 or newer). A job that fails is started again on its nodes, with growing pauses; a
# node that is lost requeues the job. Five minutes before the time limit the run saves and leaves,
# and the job is requeued. `scancel --batch --signal=TERM JOB` stops the run, which saves first.
#SBATCH --job-name=videodit
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --mem=0
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@300
set -euo pipefail

dry_run='' words=()
for word in "$@"; do
  case "$word" in --dry-run | --dry_run) dry_run=1 ;; *) words+=("$word") ;; esac
done
set -- ${words[@]+"${words[@]}"}
if (( $# == 0 )); then sed -n '2,10p' "$0" >&2; exit 2; fi

if [[ -n "$dry_run" ]]; then
  first=FIRST_NODE
elif [[ -z "${SLURM_JOB_NODELIST:-}" ]]; then
  echo "error: SLURM_JOB_NODELIST is not set: expected sbatch, or --dry-run" >&2; exit 2
else
  first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)  # head would break the pipe
fi
export JAX_COORDINATOR_ADDRESS="$first:12345"
python=${PYTHON:-python3}
# srun tells every process how many there are and which it is. When one fails, srun sends SIGTERM to
# the others. Before they handle the signal it must not kill them, because their exit status would
# then be that of a run that has saved.
process="trap '' TERM; JAX_NUM_PROCESSES=\$SLURM_NTASKS JAX_PROCESS_ID=\$SLURM_PROCID"
process+=" exec $(printf '%q' "$python") -m videodit.main \"\$@\""
step=(srun --kill-on-bad-exit=1 --cpu-bind=none --export=ALL bash -c "$process" videodit "$@")

if [[ -n "$dry_run" ]]; then
  echo "JAX_COORDINATOR_ADDRESS=$JAX_COORDINATOR_ADDRESS $(printf '%q ' "${step[@]}")"
  exit
fi
left=143  # exit status of a run that was asked to leave (videodit/config/exits.py)
again=1   # whether to requeue a run that left
status=0
leave() { scancel --quiet --signal=TERM "$SLURM_JOB_ID" || true; }  # not srun: it would kill them
trap leave USR1
trap 'again=; leave' TERM INT
"$python" -m launch.supervise --final=$left -- "${step[@]}" & supervise=$!
while kill -0 "$supervise" 2>/dev/null; do wait "$supervise" || true; done  # signals end a wait
wait "$supervise" || status=$?
if [[ -n "$again" ]] && (( status == left )); then scontrol requeue "$SLURM_JOB_ID"; fi
exit "$status"
