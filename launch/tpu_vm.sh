#!/usr/bin/env bash
# Trains on all hosts of a TPU VM pod slice, each in a tmux session that outlives this command.
#
#   launch/tpu_vm.sh [--dry-run] TPU ZONE --config=configs/dit_xl.py --workdir=/mnt/shared/xl ...
#
# Every host has the checkout in ~/videodit, installed by `pip install -e '.[tpu]'`; the workdir is on
# storage that all hosts see. jax finds the other hosts. PYTHON=.venv/bin/python before the command
# chooses another Python of the hosts than python3 (3.11 or newer), as seen from ~/videodit. After a
# host was replaced, the same command starts the run on the hosts where it is not running.
#
# With `gcloud compute tpus tpu-vm ssh TPU --zone=ZONE --worker=all --command=COMMAND`,
#   'tail -f ~/videodit.log'                           shows the run;
#   'pkill -TERM -f "^[^ ]+ -m launch.supervise"'      stops it: it saves and leaves.
set -euo pipefail

run=() words=()
for word in "$@"; do
  case "$word" in --dry-run | --dry_run) run=(echo) ;; *) words+=("$word") ;; esac
done
set -- ${words[@]+"${words[@]}"}  # bash before 4.4 calls an empty array unset
if (( $# < 3 )) || [[ "$1" == -* || "$2" == -* ]]; then sed -n '2,13p' "$0" >&2; exit 2; fi
tpu=$1 zone=$2; shift 2

python=$(printf '%q' "${PYTHON:-python3}") arguments=$(printf ' %q' "$@")
train="exec $python -m launch.supervise -- $python -m videodit.main$arguments"
# A pipe to tee would end with the session, before the run has saved; so the log is a file.
train="exec >> ~/videodit.log 2>&1; cd ~/videodit && $train"
session="tmux has-session -t videodit || tmux new-session -d -s videodit $(printf '%q' "$train")"
${run[@]+"${run[@]}"} gcloud compute tpus tpu-vm ssh "$tpu" --zone="$zone" --worker=all --command="$session"
