#!/usr/bin/env bash
# Trains on all hosts of a TPU VM pod slice, each in a tmux session that outlives this command.
#
#   launch/tpu_vm.sh [--dry-run] TPU ZONE --config=configs/dit_xl.py --workdir=/mnt/shared/xl ...
#
# The checkout lies in ~/videodit on every host, with `pip install -e .[tpu]`; the workdir is on
# storage that all hosts see. jax finds the other hosts. `gcloud ... --command="tail -f ~/videodit.log"`
# shows the run. When a host was replaced, the same command starts the run where it is not running.
set -euo pipefail

run=()
if [[ "${1:-}" == --dry-run ]]; then run=(echo); shift; fi
if (( $# < 3 )); then sed -n '2,8p' "$0" >&2; exit 2; fi
tpu=$1 zone=$2; shift 2

arguments=$(printf ' %q' "$@")
train="cd ~/videodit && python3 -m launch.supervise -- python3 -m videodit.main$arguments"
session="tmux has-session -t videodit || tmux new-session -d -s videodit $(printf '%q' "$train 2>&1 | tee -a ~/videodit.log")"
"${run[@]}" gcloud compute tpus tpu-vm ssh "$tpu" --zone="$zone" --worker=all --command="$session"
