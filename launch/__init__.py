"""Launchers start a run and restart it: one machine, several processes, TPU VMs, GKE, Slurm."""
