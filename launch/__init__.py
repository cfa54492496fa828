"""Starts experiments and sweeps of experiments on this machine or a Slurm cluster."""
