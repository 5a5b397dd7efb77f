"""Starting a run, and starting it again: one machine, several processes, TPU VMs, GKE, Slurm."""
