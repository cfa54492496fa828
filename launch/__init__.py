"""Starts experiments: on this machine or on a Slurm cluster, one or a sweep of them."""
